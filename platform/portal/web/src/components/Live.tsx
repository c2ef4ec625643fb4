import { Text } from '@mantine/core';
import type { Liveness } from '../api/events';

/** Says whether what is shown moves by itself, and what happens where it does not. */
export function Live({ now, everySeconds }: { now: Liveness; everySeconds: number }) {
  const words = {
    opening: '',
    live: 'Live: the control API tells of changes as they happen.',
    asking: `Not live now: this page asks again every ${everySeconds} s, and tries to listen again.`,
  };
  return (
    <Text size="sm" c="dimmed" role="status" data-live={now}>
      {words[now]}
    </Text>
  );
}
