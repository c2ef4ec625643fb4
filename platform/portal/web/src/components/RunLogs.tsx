import { Alert, Button, Group, NativeSelect, Stack, Text } from '@mantine/core';
import { useState } from 'react';
import { LOG_LINES, useRunLog } from '../api/queries';
import { hasEnded, plain, type Run } from '../api/words';
import { CopyCommand } from './CopyCommand';
import { Section } from './Section';
import { Empty, Shown } from './states';

/** What a run's jobs in Ray wrote, its end first; while the run moves it is read again. */
export function RunLogs({ run }: { run: Run }) {
  const [job, setJob] = useState('');
  /** The first line that is wanted; none: the last ones. */
  const [start, setStart] = useState<number>();
  const log = useRunLog(run.run_id, job, start, !hasEnded(run.stage) && start === undefined);
  return (
    <Section title="Logs" aside={<CopyCommand command={`mainspring run logs ${run.run_id}`} />}>
      <Shown of={log} rows={4}>
        {(found) => {
          const jobs = found.jobs ?? [];
          const away = found.unavailable && (
            <Alert color="orange" variant="light" title="Nothing to see of Ray" role="status">
              <Text size="sm">{found.unavailable}</Text>
              <Button mt="sm" size="xs" variant="default" loading={log.isFetching} onClick={() => void log.refetch()}>
                Try again
              </Button>
            </Alert>
          );
          if (away && !jobs.length) return away;
          const lines = found.lines ?? [];
          const first = found.first ?? 0;
          const total = found.total ?? 0;
          if (!jobs.length) {
            return <Empty>{hasEnded(run.stage) ? 'This run had no job in Ray, or nothing was kept of it.' : 'The run has no job in Ray yet.'}</Empty>;
          }
          return (
            <Stack gap="xs">
              {away}
              <Group align="end" gap="sm">
                <NativeSelect
                  label="Job"
                  value={found.job}
                  onChange={(event) => {
                    setJob(event.currentTarget.value);
                    setStart(undefined);
                  }}
                  data={jobs.map((one) => ({ value: one.name, label: `${one.step || one.name}, ${plain(one.status.toLowerCase())}${one.is_kept ? ', kept' : ''}` }))}
                />
                <Button size="xs" variant="default" disabled={first === 0} onClick={() => setStart(Math.max(0, first - LOG_LINES))}>
                  Earlier lines
                </Button>
                {start !== undefined && (
                  <Button size="xs" variant="default" onClick={() => setStart(undefined)}>
                    The last lines
                  </Button>
                )}
                <Text size="sm" c="dimmed">
                  {lines.length ? `lines ${(first + 1).toLocaleString('en')} to ${(first + lines.length).toLocaleString('en')} of ${total.toLocaleString('en')}` : 'no lines yet'}
                </Text>
              </Group>
              {jobs.some((one) => one.name === found.job && one.is_kept) && (
                <Text size="sm" c="dimmed">
                  As it was kept when the job ended: Ray has it no more.
                </Text>
              )}
              <pre className="ms-source" tabIndex={0} aria-label="Lines of the log">
                {lines.join('\n')}
              </pre>
            </Stack>
          );
        }}
      </Shown>
    </Section>
  );
}
