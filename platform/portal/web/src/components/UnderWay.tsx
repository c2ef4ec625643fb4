import { Progress, Stack, Text } from '@mantine/core';
import { plain, type StepProgress } from '../api/words';

/** How far the steps of a run are that are under way: a bar with its words, and where the work lies that is not lost. */
export function UnderWay({ steps }: { steps: StepProgress[] }) {
  return (
    <>
      {steps.map((one) => (
        <Stack key={one.step} gap={4}>
          <Text size="sm">
            {plain(one.step)}: {[counted(one), one.message].filter(Boolean).join(', ') || 'under way'}
          </Text>
          {(one.of ?? 0) > 0 && (
            <Progress value={(100 * Math.min(one.done ?? 0, one.of ?? 0)) / (one.of ?? 1)} aria-label={`${plain(one.step)}: ${counted(one)}`} />
          )}
          {one.checkpoint && (
            <Text size="xs" c="dimmed">
              Checkpoint: <span className="ms-break">{one.checkpoint}</span>
            </Text>
          )}
        </Stack>
      ))}
    </>
  );
}

function counted({ done = 0, of = 0, unit = '' }: StepProgress): string {
  if (!of) return '';
  const numbers = `${done.toLocaleString('en')} of ${of.toLocaleString('en')}`;
  return unit === 'epoch' ? `${unit} ${numbers}` : `${numbers} ${unit}`.trim();
}
