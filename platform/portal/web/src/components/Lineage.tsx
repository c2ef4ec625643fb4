import { List, NativeSelect, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type Schemas, unwrap } from '../api/client';
import { Graph } from './Graph';
import { Empty, Shown } from './states';
import { Digest } from './values';

type Lineages = Schemas['LineageGraph'];
type Direction = 'upstream' | 'downstream';

interface Props {
  project: string;
  name: string;
  version?: string;
}

/** What something came from, or what came of it: job by job, the nearest first, as a picture, and as a list that can be searched. */
export function Lineage({ project, name, version = '' }: Props) {
  const [direction, setDirection] = useState<Direction>('upstream');
  const graph = useQuery({
    queryKey: ['lineage', project, name, version, direction],
    queryFn: () =>
      unwrap(
        api.GET('/api/v1/lineage:walk', {
          params: { query: { direction, namespace: project, name, version } },
        }),
      ),
  });
  return (
    <Stack gap="sm">
      <NativeSelect
        label="Direction"
        w="fit-content"
        value={direction}
        onChange={(event) => setDirection(event.currentTarget.value as Direction)}
        data={[
          { value: 'upstream', label: 'what it came from' },
          { value: 'downstream', label: 'what came of it' },
        ]}
      />
      <Shown of={graph} rows={3}>
        {(found) => <Nodes graph={found} />}
      </Shown>
    </Stack>
  );
}

/** More of them are no picture any more. */
const MOST_DRAWN = 80;

function Nodes({ graph }: { graph: Lineages }) {
  const [chosen, choose] = useState('0');
  if (graph.nodes.length < 2) return <Empty>Lineage knows of nothing in this direction.</Empty>;
  const jobs = (place: number) => {
    const touching = graph.edges.filter((edge) => (graph.direction === 'upstream' ? edge.source : edge.target) === place);
    return [...new Set(touching.map((edge) => edge.job))].join(', ');
  };
  const drawn = graph.nodes.map((node, place) => ({
    id: String(place),
    name: node.column ? `${node.name}.${node.column}` : node.name,
    words: [node.kind, place === 0 ? 'this one' : ''].filter(Boolean).join(', ') || node.namespace,
    needs: [...new Set(graph.edges.filter((edge) => edge.target === place && edge.source !== place).map((edge) => String(edge.source)))],
  }));
  const selected = graph.nodes[Number(chosen)] ? Number(chosen) : 0;
  return (
    <>
      {graph.nodes.length <= MOST_DRAWN && (
        <>
          <Graph label="What was made of what" nodes={drawn} selected={String(selected)} onSelect={choose} />
          <Chosen graph={graph} place={selected} />
        </>
      )}
      <details className="ms-file" open={graph.nodes.length > MOST_DRAWN}>
        <summary>As a list, the nearest first</summary>
        <List size="sm" spacing={4} listStyleType="none">
          {graph.nodes.map(
            (node, place) =>
              (node.steps ?? 0) > 0 && (
                <List.Item key={`${node.namespace}/${node.name}/${node.version}/${node.column}`} style={{ paddingLeft: `${((node.steps ?? 1) - 1) * 1.25}rem` }}>
                  <Named node={node} />{' '}
                  <Text span size="sm" c="dimmed">
                    by {jobs(place)}
                  </Text>
                </List.Item>
              ),
          )}
        </List>
      </details>
      {graph.is_cut && <Text size="sm">There is more than is shown; ask again from what is shown last.</Text>}
    </>
  );
}

function Named({ node }: { node: Schemas['LineageNode'] }) {
  return (
    <>
      {node.kind && `${node.kind} `}
      <span className="ms-break">
        {node.namespace}/{node.name}
        {node.column && `.${node.column}`}
      </span>{' '}
      {node.version && <Digest value={node.version} />}
    </>
  );
}

/** One of them in full: which it is, and what made it of how many. */
function Chosen({ graph, place }: { graph: Lineages; place: number }) {
  const node = graph.nodes[place];
  if (!node) return null;
  const into = graph.edges.filter((edge) => edge.target === place);
  const makers = [...new Set(into.map((edge) => edge.job))];
  return (
    <Text size="sm" role="status">
      <Named node={node} /> {makers.length ? `made by ${makers.join(', ')}, of ${new Set(into.map((edge) => edge.source)).size}` : 'nobody told what made it'}
    </Text>
  );
}
