import { Button, Group, List, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { api, unwrap } from '../api/client';
import { useMe, usePipeline } from '../api/queries';
import { hasEnded, type NodeReport, type PipelineNode, rolesIn, type Run } from '../api/words';
import { CopyCommand } from './CopyCommand';
import { Decide } from './Decide';
import { needs, PipelineGraph, stateWords } from './PipelineGraph';
import { Section } from './Section';
import { Problem, Shown } from './states';
import { useSearch } from './useSearch';
import { RunLink, seconds } from './values';

/** A pipeline's run as a graph of its steps, and what may be done about the one that is chosen. */
export function Pipeline({ run }: { run: Run }) {
  const pack = usePipeline(run.project, run.pack ?? '');
  const [chosen, choose] = useSearch('step');
  const reports = reportsOf(run);
  return (
    <Section title="Pipeline">
      <Shown of={pack} rows={3}>
        {({ graph }) => {
          // The API's document says of a list with a limit that anything may be in it.
          const nodes = graph.nodes as PipelineNode[];
          // What is worth looking at, before anybody chose.
          const wanted = nodes.find((one) => ['failed', 'approval', 'running'].includes(reports.get(one.name)?.state ?? ''));
          const node = nodes.find((one) => one.name === chosen) ?? wanted ?? nodes[0];
          return (
            <Stack gap="md">
              <Text size="sm">
                {graph.name}: {nodes.length} steps
                {Object.keys(graph.parameters ?? {}).length > 0 &&
                  `, with ${Object.entries(graph.parameters ?? {})
                    .map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
                    .join(', ')}`}
              </Text>
              <PipelineGraph nodes={nodes} reports={reports} selected={node?.name ?? ''} onSelect={choose} />
              {node && <Step run={run} node={node} report={reports.get(node.name)} />}
              {hasEnded(run.stage) && <Again run={run} step={node?.name ?? ''} />}
            </Stack>
          );
        }}
      </Shown>
    </Section>
  );
}

/** By name; while the run is under way from its workflow, later from its result, where it has one. */
function reportsOf(run: Run): Map<string, NodeReport> {
  const live = (run.status?.detail as { nodes?: NodeReport[] } | undefined)?.nodes;
  const kept = (run.result as { nodes?: NodeReport[] } | undefined)?.nodes;
  const found = hasEnded(run.stage) ? (kept ?? live) : (live ?? kept);
  return new Map((found ?? []).map((one) => [one.name, one]));
}

function Step({ run, node, report }: { run: Run; node: PipelineNode; report: NodeReport | undefined }) {
  const items = report?.items ?? 1;
  const facts: [string, string][] = [
    ['state', stateWords(report)],
    ['does', node.function || `approval by ${node.approval?.count ?? 1} of role ${node.approval?.role ?? 'approver'}`],
    ['needs', needs(node).join(', ') || 'nothing'],
    ['gives', node.gives ?? ''],
    ['items', node.each ? `${items}, one for each of ${node.each}` : ''],
    ['from the cache', report?.from_cache ? `${report.from_cache} of ${items}` : ''],
    ['not from the cache', report?.why_not_cached ?? ''],
    ['jobs', report?.tries ? `${report.tries}, ${seconds(report.cpu_seconds ?? 0)} of CPU` : ''],
    ['approved by', report?.approved_by?.join(', ') ?? ''],
    ['says', report?.message ?? ''],
  ];
  return (
    <Stack gap="xs" role="region" aria-label={`Step ${node.name}`}>
      <Text fw={600}>{node.name}</Text>
      <List size="sm" listStyleType="none" spacing={2}>
        {facts
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <List.Item key={name}>
              {name}: <span className="ms-break">{value}</span>
            </List.Item>
          ))}
      </List>
      {report?.state === 'approval' && <Decide run={run} step={node.name} />}
    </Stack>
  );
}

/** A new run of the same pack: what was done is taken from this one, what failed and follows is done again. */
function Again({ run, step }: { run: Run; step: string }) {
  const me = useMe();
  const roles = rolesIn(me.data, run.project, run.environment);
  const may = roles.has('developer') || roles.has('admin');
  const again = useMutation({
    mutationFn: (from: string[]) =>
      unwrap(
        api.POST('/api/v1/runs', {
          body: {
            project: run.project,
            kind: 'pipeline',
            environment: run.environment,
            pipeline: { pack: run.pack ?? '', resume_of: run.run_id, again_from: from },
          },
        }),
      ),
  });
  return (
    <Stack gap="xs">
      <Group gap="xs">
        {run.stage !== 'done' && (
          <Button size="xs" disabled={!may} loading={again.isPending && !again.variables.length} onClick={() => again.mutate([])}>
            Go on where it failed
          </Button>
        )}
        <Button size="xs" variant="default" disabled={!may} loading={again.isPending && again.variables.length > 0} onClick={() => again.mutate([step])}>
          Do {step} and what follows again
        </Button>
        <CopyCommand command={`mainspring run PIPELINE.py --resume ${run.run_id} --set NAME=VALUE`} />
      </Group>
      <Text size="sm" c="dimmed">
        {may
          ? 'Parameters and code are changed where the pipeline is written: the command goes on with what is changed there.'
          : `To start it again one is a developer of ${run.project} in ${run.environment}.`}
      </Text>
      {again.data && (
        <Text size="sm" role="status">
          Started as <RunLink id={again.data.run_id} />.
        </Text>
      )}
      {again.isError && <Problem error={again.error} />}
    </Stack>
  );
}
