import { Text } from '@mantine/core';
import { useServed } from '../api/queries';
import { plain, shortDigest, type TrafficChange } from '../api/words';
import { DataTable } from './DataTable';
import { Section } from './Section';
import { Empty, Shown } from './states';
import { RunLink, When } from './values';

/** What answered here, since when, by which run, and who had said yes. */
export function Served({ name }: { name: string }) {
  const served = useServed(name);
  return (
    <Section title="What was served">
      <Shown of={served} rows={3}>
        {({ items, next }) =>
          items.length ? (
            <>
              <DataTable
                label="Changes of the traffic"
                rows={items}
                rowKey={(one) => String(one.sequence)}
                columns={[
                  { title: 'When', cell: (one) => <When at={one.at} /> },
                  { title: 'Change', cell: (one) => plain(one.action.replace('endpoint.', '')) },
                  { title: 'Stable', cell: (one) => <Short digest={one.stable} /> },
                  { title: 'Canary', cell: (one) => <Canary change={one} /> },
                  { title: 'Run', cell: (one) => <RunLink id={one.run_id} /> },
                  { title: 'Asked for by', cell: (one) => one.by },
                  { title: 'Approved by', cell: (one) => one.approved_by.join(', ') || '–' },
                ]}
              />
              {next && (
                <Text size="sm" c="dimmed">
                  Older ones: mainspring endpoint history {name}
                </Text>
              )}
            </>
          ) : (
            <Empty command={`mainspring endpoint history ${name}`}>No run has changed the traffic here.</Empty>
          )
        }
      </Shown>
    </Section>
  );
}

function Canary({ change }: { change: TrafficChange }) {
  if (!change.canary) return <>–</>;
  return (
    <>
      <Short digest={change.canary} />: {change.canary_percent} %
    </>
  );
}

function Short({ digest }: { digest: string }) {
  return digest ? (
    <span className="ms-mono" title={digest}>
      {shortDigest(digest)}
    </span>
  ) : (
    <>–</>
  );
}
