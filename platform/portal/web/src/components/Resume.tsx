import { Button, Group, NumberInput, Stack, Text } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { ApiError, api, unwrap } from '../api/client';
import { useMe, useProjects } from '../api/queries';
import { type Run, rolesIn } from '../api/words';
import { BudgetLine } from './BudgetLine';
import { CopyCommand } from './CopyCommand';
import { Section } from './Section';
import { Problem } from './states';
import { money } from './values';

/** Kinds whose work has checkpoints or parts to go on from. A pipeline goes on as a run of its own, but for its money. */
const goesOn = new Set<string>(['train', 'tune', 'score']);

export function mayGoOn(run: Run): boolean {
  return run.stage === 'failed' && (goesOn.has(run.kind) || (run.kind === 'pipeline' && isSpent(run)));
}

function isSpent(run: Run): boolean {
  return (run.status?.error as { code?: string } | undefined)?.code === 'budget_exhausted';
}

/** A run that failed, gone on with under its id from what it has, and what it may cost then. */
export function Resume({ run }: { run: Run }) {
  const me = useMe();
  const projects = useProjects();
  const queries = useQueryClient();
  const [limit, setLimit] = useState<number>();
  const resume = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST('/api/v1/runs/{run_id}/resume', {
          // As it was looked at: not one that somebody else goes on with already.
          params: { path: { run_id: run.run_id }, header: { 'If-Match': `"${run.version}"` } },
          body: { max_cost: limit ?? null },
        }),
      ),
    onSuccess: () => queries.invalidateQueries({ queryKey: ['runs'] }),
  });
  const roles = rolesIn(me.data, run.project, run.environment);
  const may = roles.has('developer') || roles.has('admin');
  const project = projects.data?.items.find((one) => one.name === run.project);
  const wrong = resume.error instanceof ApiError && resume.error.field === 'max_cost' ? resume.error.message : undefined;
  return (
    <Section title="Go on with it" aside={<CopyCommand command={`mainspring run resume ${run.run_id}${limit ? ` --max-cost ${limit}` : ''}`} />}>
      <Stack gap="sm">
        <Text size="sm">
          {isSpent(run) ? 'It was stopped because what it may cost is spent' : 'It failed'}, and has cost {money(run.cost ?? 0)}. It goes on under its id from what it has.
        </Text>
        {project && <BudgetLine project={project} isForecast />}
        <NumberInput
          label="May cost in all, in USD"
          description="With what it has cost so far. Left empty: as before."
          value={limit ?? ''}
          onChange={(found) => setLimit(typeof found === 'number' && found > 0 ? found : undefined)}
          min={0}
          hideControls
          disabled={!may}
          error={wrong}
          w="fit-content"
        />
        <Group>
          <Button disabled={!may} loading={resume.isPending} onClick={() => resume.mutate()}>
            Resume
          </Button>
          {!may && me.data && (
            <Text size="sm" c="dimmed">
              To go on with it one is a developer of {run.project} in {run.environment}.
            </Text>
          )}
        </Group>
        {resume.isError && !wrong && <Problem error={resume.error} />}
      </Stack>
    </Section>
  );
}
