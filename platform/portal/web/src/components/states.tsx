/** What a page shows while it waits, when it was refused, and when there is nothing. */
import { Alert, Button, Code, Group, Skeleton, Stack, Text } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { ApiError } from '../api/client';
import { CopyCommand } from './CopyCommand';

export function Loading({ rows = 4, label = 'Loading' }: { rows?: number; label?: string }) {
  return (
    <Stack gap="xs" role="status" aria-label={label}>
      {Array.from({ length: rows }, (_, row) => (
        <Skeleton key={row} height={32} radius="sm" />
      ))}
    </Stack>
  );
}

const titles: Record<number, string> = {
  0: 'No connection',
  403: 'Not permitted',
  404: 'Not found',
  409: 'Not possible as things are now',
  429: 'Too much at once',
  503: 'Something it depends on does not answer',
};

export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  const known = error instanceof ApiError ? error : undefined;
  return (
    <Alert color="red" variant="light" title={titles[known?.status ?? -1] ?? 'That did not work'} role="alert">
      <Text size="sm">{error instanceof Error ? error.message : String(error)}</Text>
      {retry && (
        <Button mt="sm" size="xs" variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

/** Nothing is there yet: says so, and the command that makes the first one. */
export function Empty({ children, command }: { children: ReactNode; command?: string }) {
  return (
    <Stack gap="xs" align="flex-start" className="ms-empty">
      <Text size="sm">{children}</Text>
      {command && (
        <Group gap="xs">
          <Code className="ms-break">{command}</Code>
          <CopyCommand command={command} />
        </Group>
      )}
    </Stack>
  );
}

/** A query's data once it is there; else what there is to say in its place. Data that was there stays while it is asked again. */
export function Shown<T>({
  of,
  rows,
  children,
}: {
  of: UseQueryResult<T>;
  rows?: number;
  children: (data: T) => ReactNode;
}) {
  if (of.data !== undefined) {
    return (
      <>
        {of.isError && <Problem error={of.error} retry={() => void of.refetch()} />}
        {children(of.data)}
      </>
    );
  }
  if (of.isError) return <Problem error={of.error} retry={() => void of.refetch()} />;
  return <Loading rows={rows} />;
}
