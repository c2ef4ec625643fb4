import { Anchor, AppShell, Burger, Button, Group, NavLink, Text, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useEffect, useRef } from 'react';
import { Link, useLocation } from 'wouter';
import { useMe } from '../api/queries';
import { signOut } from '../session';

const pages: [path: string, label: string][] = [
  ['/', 'Home'],
  ['/projects/new', 'New project'],
  ['/approvals', 'Approvals'],
  ['/runs', 'Runs'],
  ['/models', 'Models'],
  ['/endpoints', 'Endpoints'],
  ['/playground', 'Playground'],
  ['/monitoring', 'Monitoring'],
  ['/features', 'Features and data'],
  ['/costs', 'Costs'],
  ['/access', 'Access'],
  ['/audit', 'Audit'],
];

export function Layout({ children }: { children: ReactNode }) {
  const [isOpen, { toggle, close }] = useDisclosure();
  const [path] = useLocation();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);

  // A new page begins at its top, and a screen reader reads on there.
  useEffect(() => {
    close();
    if (first.current) first.current = false;
    else main.current?.focus();
  }, [path, close]);

  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 220, breakpoint: 'sm', collapsed: { mobile: !isOpen } }} padding="md">
      <a className="ms-skip" href="#main">
        Skip to the page
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="xs" wrap="nowrap">
            <Burger opened={isOpen} onClick={toggle} hiddenFrom="sm" size="sm" aria-label="Pages" aria-expanded={isOpen} />
            <Anchor component={Link} href="/" fw={700} size="lg" underline="never">
              Mainspring
            </Anchor>
          </Group>
          <Account />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" aria-label="Pages">
        {pages.map(([to, label]) => {
          const isHere = to === '/' ? path === '/' : path === to || path.startsWith(`${to}/`);
          return (
            <NavLink
              key={to}
              component={Link}
              href={to}
              label={label}
              active={isHere}
              aria-current={isHere ? 'page' : undefined}
            />
          );
        })}
      </AppShell.Navbar>
      <AppShell.Main id="main" ref={main} tabIndex={-1} className="ms-main" data-path={path}>
        {children}
      </AppShell.Main>
    </AppShell>
  );
}

function Account() {
  const me = useMe();
  const queries = useQueryClient();
  const { setColorScheme } = useMantineColorScheme();
  const scheme = useComputedColorScheme('light');
  const other = scheme === 'dark' ? 'light' : 'dark';
  return (
    <Group gap="xs" wrap="nowrap">
      <Text size="sm" visibleFrom="sm" title={me.data?.roles.join(', ')}>
        {me.data?.actor}
      </Text>
      <Button variant="default" size="xs" onClick={() => setColorScheme(other)} aria-label={`Switch to ${other} colours`}>
        {other === 'dark' ? '◐ Dark' : '◑ Light'}
      </Button>
      <Button
        variant="default"
        size="xs"
        onClick={() => {
          // What one actor was shown must not be there for the next.
          queries.clear();
          signOut();
        }}
      >
        Sign out
      </Button>
    </Group>
  );
}
