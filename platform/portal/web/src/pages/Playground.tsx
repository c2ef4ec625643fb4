import { Button, Group, NativeSelect, NumberInput, Stack, Text, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, type Schemas, unwrap } from '../api/client';
import { useEndpoint, useEndpoints } from '../api/queries';
import { DataTable } from '../components/DataTable';
import { Page } from '../components/Page';
import { Section } from '../components/Section';
import { Empty, Problem, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { Digest } from '../components/values';

type Value = string | number | boolean | null;

/** Ask an endpoint by a form of what its model reads, and see why it answers as it does. */
export default function Playground() {
  const [chosen, setEndpoint] = useSearch('endpoint');
  const endpoints = useEndpoints('');
  const names = endpoints.data?.pages.flatMap((one) => one.items).map((one) => one.name) ?? [];
  const name = chosen || names[0] || '';
  const endpoint = useEndpoint(name);
  return (
    <Page title="Playground" command={`mainspring endpoint predict ${name || 'NAME'} -`} environment={endpoint.data?.environment}>
      <Shown of={endpoints} rows={2}>
        {() =>
          name ? (
            <>
              <NativeSelect label="Endpoint" w="fit-content" value={name} onChange={(event) => setEndpoint(event.currentTarget.value)} data={names.includes(name) ? names : [name, ...names]} />
              <Shown of={endpoint}>
                {(found) => {
                  const bundle = found.bundles?.find((one) => one.digest === found.traffic?.stable);
                  if (!bundle) return <Empty command="mainspring status">{found.unavailable || 'No bundle answers here.'}</Empty>;
                  return <Form key={bundle.digest} endpoint={name} columns={bundle.input_columns} />;
                }}
              </Shown>
            </>
          ) : (
            <Empty command="mainspring run start PROJECT --endpoint NAME">No endpoint yet: a training makes one, if it is told where to deploy.</Empty>
          )
        }
      </Shown>
    </Page>
  );
}

function Form({ endpoint, columns }: { endpoint: string; columns: Record<string, string> }) {
  const [row, setRow] = useState<Record<string, Value>>({});
  const params = { path: { name: endpoint } };
  const body = () => ({ rows: [Object.fromEntries(Object.keys(columns).map((name) => [name, row[name] ?? null]))] });
  const predict = useMutation({
    mutationFn: () => unwrap(api.POST('/api/v1/endpoints/{name}/predict', { params, body: body() })),
  });
  const explain = useMutation({
    mutationFn: () => unwrap(api.POST('/api/v1/endpoints/{name}/explain', { params, body: body() })),
  });
  const needed = Object.values(columns).some(isNeeded);
  const set = (name: string, value: Value) => setRow((found) => ({ ...found, [name]: value }));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    explain.reset();
    predict.mutate();
  };
  return (
    <div className="ms-grid">
      <Section title="One row">
        <form onSubmit={submit}>
          <Stack gap="xs">
            <Text size="sm" c="dimmed">
              What is left empty is missing: the model fills it in as it learned to.
              {needed && ' Whole numbers and true or false have no missing value: those with a star want one.'}
            </Text>
            {Object.entries(columns).map(([name, type]) => (
              <Field key={name} name={name} type={type} value={row[name] ?? null} set={(value) => set(name, value)} />
            ))}
            <Group>
              <Button type="submit" loading={predict.isPending}>
                Predict
              </Button>
              <Button variant="default" loading={explain.isPending} onClick={(event) => event.currentTarget.form?.reportValidity() && explain.mutate()}>
                Explain
              </Button>
            </Group>
          </Stack>
        </form>
      </Section>
      <Section title="Answer">
        <Stack gap="sm" aria-live="polite">
          {predict.isError && <Problem error={predict.error} />}
          {explain.isError && <Problem error={explain.error} />}
          {predict.data && (
            <Text>
              score <b data-testid="score">{predict.data.predictions[0]?.score.toFixed(4)}</b> by the {predict.data.role} bundle <Digest value={predict.data.model_version} />
            </Text>
          )}
          {explain.data && <Why answer={explain.data} />}
          {!predict.data && !explain.data && !predict.isError && !explain.isError && <Empty>Nothing was asked yet.</Empty>}
        </Stack>
      </Section>
    </div>
  );
}

/** Serving takes null for decimals and texts alone. */
const isNeeded = (type: string) => /^(u?int|bool)/.test(type);

function Field({ name, type, value, set }: { name: string; type: string; value: Value; set: (value: Value) => void }) {
  const shared = { label: name, description: type, required: isNeeded(type) };
  if (/^(int|uint|float|double)/.test(type)) {
    return <NumberInput {...shared} value={typeof value === 'number' ? value : ''} onChange={(found) => set(typeof found === 'number' ? found : null)} allowDecimal={!/int/.test(type)} hideControls />;
  }
  if (type === 'bool') {
    return (
      <NativeSelect
        {...shared}
        value={value === null ? '' : String(value)}
        onChange={(event) => set(event.currentTarget.value === '' ? null : event.currentTarget.value === 'true')}
        data={[{ value: '', label: 'choose' }, 'true', 'false']}
      />
    );
  }
  return <TextInput {...shared} value={typeof value === 'string' ? value : ''} onChange={(event) => set(event.currentTarget.value || null)} />;
}

/** What each column added to the margin, the largest first. */
function Why({ answer }: { answer: Schemas['ExplainResponse'] }) {
  const found = answer.explanations[0];
  if (!found) return null;
  const rows = Object.entries(found.contributions).sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]));
  return (
    <>
      <Text size="sm">
        margin {found.margin.toFixed(4)} = base {found.base_value.toFixed(4)} + contributions + {found.residual.toExponential(1)} unexplained, by {answer.method.replaceAll('_', ' ')}
      </Text>
      <DataTable
        label="What each column added"
        rows={rows}
        rowKey={([name]) => name}
        columns={[
          { title: 'Column', cell: ([name]) => name },
          { title: 'Added to the margin', cell: ([, value]) => value.toFixed(4), numeric: true },
        ]}
      />
    </>
  );
}
