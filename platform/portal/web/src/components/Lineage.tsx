import { List, NativeSelect, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, type Schemas, unwrap } from '../api/client';
import { Empty, Shown } from './states';
import { Digest } from './values';

type Graph = Schemas['LineageGraph'];
type Direction = 'upstream' | 'downstream';

interface Props {
  project: string;
  name: string;
  version?: string;
}

/** What something came from, or what came of it: job by job, the nearest first, as a list that can be read and searched. */
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

function Nodes({ graph }: { graph: Graph }) {
  const nodes = graph.nodes.filter((node) => (node.steps ?? 0) > 0);
  if (!nodes.length) return <Empty>Lineage knows of nothing in this direction.</Empty>;
  const jobs = (place: number) => {
    const touching = graph.edges.filter((edge) => (graph.direction === 'upstream' ? edge.source : edge.target) === place);
    return [...new Set(touching.map((edge) => edge.job))].join(', ');
  };
  return (
    <>
      <List size="sm" spacing={4} listStyleType="none">
        {graph.nodes.map(
          (node, place) =>
            (node.steps ?? 0) > 0 && (
              <List.Item key={`${node.namespace}/${node.name}/${node.version}/${node.column}`} style={{ paddingLeft: `${((node.steps ?? 1) - 1) * 1.25}rem` }}>
                {node.kind && `${node.kind} `}
                {node.namespace}/{node.name}
                {node.column && `.${node.column}`} {node.version && <Digest value={node.version} />}{' '}
                <Text span size="sm" c="dimmed">
                  by {jobs(place)}
                </Text>
              </List.Item>
            ),
        )}
      </List>
      {graph.is_cut && <Text size="sm">There is more than is shown; ask again from what is shown last.</Text>}
    </>
  );
}
