import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';

const fonts = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

export const theme = createTheme({
  primaryColor: 'indigo',
  primaryShade: { light: 8, dark: 8 },
  autoContrast: true,
  // Where black and white are as far from a colour: 4.58 : 1.
  luminanceThreshold: 0.179,
  defaultRadius: 'md',
  fontFamily: fonts,
  headings: { fontFamily: fonts, fontWeight: '650' },
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace',
  cursorType: 'pointer',
  respectReducedMotion: true,
});

/** Mantine's own greys and light tints are below 4.5 : 1; these are above it in both schemes (the suite asks axe). */
export const cssVariables: CSSVariablesResolver = (found) => {
  const tints = (text: number, towards: string, alpha: string) =>
    Object.fromEntries(
      Object.entries(found.colors).flatMap(([name, shades]: [string, MantineColorsTuple]) => [
        [`--mantine-color-${name}-light-color`, `color-mix(in srgb, ${shades[text]} 60%, ${towards})`],
        [`--mantine-color-${name}-light`, `color-mix(in srgb, ${shades[6]} ${alpha}, transparent)`],
      ]),
    );
  return {
    variables: {},
    light: {
      ...tints(9, 'black', '12%'),
      '--mantine-color-dimmed': '#495057',
      '--mantine-color-placeholder': '#5c636a',
      '--mantine-color-error': '#a61e1e',
      '--mantine-color-anchor': '#364fc7',
      '--ms-gray-badge': '#495057',
    },
    dark: {
      ...tints(2, 'white', '24%'),
      '--mantine-color-dimmed': '#b8b8b8',
      '--mantine-color-placeholder': '#a6a6a6',
      '--mantine-color-error': '#ff9c9c',
      '--mantine-color-anchor': '#a5b8ff',
      '--ms-gray-badge': '#c9c9c9',
    },
  };
};
