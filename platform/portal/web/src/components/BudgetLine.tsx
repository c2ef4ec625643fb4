import { Group, Progress, Stack, Text } from '@mantine/core';
import type { Project } from '../api/words';
import { money } from './values';

/** When the budget is spent if the month goes on as it began; undefined: not within it. */
export function spentOn(spent: number, limit: number, now: Date): Date | undefined {
  const month = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1);
  const next = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
  if (spent <= 0) return undefined;
  const at = month + ((now.getTime() - month) * limit) / spent;
  return at < next ? new Date(at) : undefined;
}

/** What a project has spent, keeps free for runs, and may spend. `isForecast`: and when that ends, by the month's mean. */
export function BudgetLine({ project, isForecast = false }: { project: Project; isForecast?: boolean }) {
  const { monthly_budget: limit, spent_this_month: spent, reserved = 0 } = project;
  if (!limit) {
    return (
      <Text size="sm">
        {project.name}: {money(spent)} spent, no limit
      </Text>
    );
  }
  const share = (part: number) => Math.min(100, (100 * part) / limit);
  const end = isForecast ? spentOn(spent, limit, new Date()) : undefined;
  return (
    <Stack gap={2}>
      <Group justify="space-between" gap="xs">
        <Text size="sm">{project.name}</Text>
        <Text size="sm" c="dimmed">
          {money(spent)} spent, {money(reserved)} kept free, of {money(limit)}
        </Text>
      </Group>
      <Progress.Root size="md">
        <Progress.Section value={share(spent)} color={spent + reserved > limit * 0.9 ? 'red' : 'indigo'} aria-label={`${project.name}: spent`} />
        <Progress.Section value={Math.min(share(reserved), 100 - share(spent))} color="gray" aria-label={`${project.name}: kept free for runs`} />
      </Progress.Root>
      {end && (
        <Text size="sm" c={spent >= limit ? 'error' : undefined}>
          {spent >= limit ? 'The budget is spent: new runs are refused.' : `At this month's mean rate it is spent on ${end.toISOString().slice(0, 10)}.`}
        </Text>
      )}
    </Stack>
  );
}
