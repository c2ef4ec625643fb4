import { Anchor, Box, Breadcrumbs, Group, Stack, Title } from '@mantine/core';
import { type ReactNode, useEffect } from 'react';
import { Link } from 'wouter';
import { CopyCommand } from './CopyCommand';
import { environmentColor } from './badges';

interface Props {
  title: string;
  /** What asks for the same in a terminal. */
  command: string;
  /** The place that what is shown belongs to: its band says so before anybody presses a button. */
  environment?: string;
  /** Where one came from: label and path. */
  parent?: [string, string];
  actions?: ReactNode;
  children: ReactNode;
}

export function Page({ title, command, environment, parent, actions, children }: Props) {
  useEffect(() => {
    document.title = `${title} · Mainspring`;
  }, [title]);
  return (
    <Stack gap="lg">
      {environment && (
        <Box className="ms-band" bg={environmentColor(environment).band} c={environmentColor(environment).text}>
          environment: {environment}
        </Box>
      )}
      <Stack gap={4}>
        {parent && (
          <Breadcrumbs>
            <Anchor component={Link} href={parent[1]} size="sm">
              {parent[0]}
            </Anchor>
            <span className="ms-crumb">{title}</span>
          </Breadcrumbs>
        )}
        <Group justify="space-between" align="center" gap="sm">
          <Title order={1} size="h2" className="ms-break">
            {title}
          </Title>
          <Group gap="xs">
            {actions}
            <CopyCommand command={command} />
          </Group>
        </Group>
      </Stack>
      {children}
    </Stack>
  );
}
