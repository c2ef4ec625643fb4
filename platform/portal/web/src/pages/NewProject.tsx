import { Anchor, Button, Code, Group, List, NumberInput, Radio, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { Link } from 'wouter';
import { ApiError, api, unwrap } from '../api/client';
import { useMe, useTemplates } from '../api/queries';
import type { Answer, ProjectPlan, Template } from '../api/words';
import { Page } from '../components/Page';
import { Preview } from '../components/Preview';
import { SchemaForm } from '../components/SchemaForm';
import { Section } from '../components/Section';
import { Empty, Problem, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';

/** A project out of a template: chosen, asked for, shown whole, and only then made. */
export default function NewProject() {
  const templates = useTemplates();
  const [chosen, choose] = useSearch('template');
  const all = templates.data?.items ?? [];
  const template = all.find((one) => one.name === chosen);
  return (
    <Page title="New project" command={`mainspring new NAME --template ${template?.name ?? 'TEMPLATE'} --owner OWNER`}>
      <Shown of={templates} rows={5}>
        {({ items }) => (
          <>
            <Section title="1. What is it like?">
              {items.length ? (
                <Radio.Group value={chosen} onChange={choose} aria-label="Template">
                  <Stack gap="sm">
                    {items.map((one) => (
                      <Radio key={one.name} value={one.name} label={`${one.name}: ${one.title}`} description={one.description} />
                    ))}
                  </Stack>
                </Radio.Group>
              ) : (
                <Empty command="mainspring new --list">This control API has no templates.</Empty>
              )}
              {chosen && !template && <Text size="sm" role="alert">There is no template “{chosen}”; choose another.</Text>}
            </Section>
            {template && <Questions key={template.name} template={template} />}
          </>
        )}
      </Shown>
    </Page>
  );
}

/** What the template asks, and what it would make of the answers as they are now: another answer takes that away again. */
function Questions({ template }: { template: Template }) {
  const [answers, setAnswers] = useState<Record<string, Answer>>({});
  const plan = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST('/api/v1/templates/{name}/plan', { params: { path: { name: template.name } }, body: { inputs: given(answers) } }),
      ),
  });
  const answer = (name: string, value: Answer | undefined) => {
    plan.reset();
    setAnswers(({ [name]: _, ...rest }) => (value === undefined ? rest : { ...rest, [name]: value }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    plan.mutate();
  };
  const wrong = plan.error instanceof ApiError && plan.error.field in template.inputs.properties ? plan.error : undefined;
  return (
    <>
      <Section title="2. What is asked">
        <form onSubmit={submit}>
          <Stack gap="sm">
            <Text size="sm" c="dimmed">
              Data to begin with: {template.data_name} ({template.data_licence}). {template.measured}
            </Text>
            <SchemaForm schema={template.inputs} answers={answers} onAnswer={answer} problem={wrong} />
            <Group>
              <Button type="submit" loading={plan.isPending}>
                Show what would be made
              </Button>
            </Group>
            {plan.isError && !wrong && <Problem error={plan.error} />}
          </Stack>
        </form>
      </Section>
      {plan.data && <Planned plan={plan.data} />}
    </>
  );
}

/** Empty text is no answer. */
function given(answers: Record<string, Answer>): Record<string, Answer> {
  return Object.fromEntries(Object.entries(answers).filter(([, value]) => value !== ''));
}

function Planned({ plan }: { plan: ProjectPlan }) {
  const place = useRef<HTMLDivElement>(null);
  // Whoever asked for it reads on here.
  useEffect(() => place.current?.focus(), [plan.digest]);
  return (
    <div ref={place} tabIndex={-1} className="ms-main">
      <Section title="3. What would be made">
        <Stack gap="md">
          <Text size="sm" role="status">
            {plan.files.length} files in a folder {plan.name}. Nothing is made yet.
          </Text>
          <Preview files={plan.files} />
          <div>
            <Text size="sm" fw={600}>
              On record by its next commands
            </Text>
            <List size="sm" spacing={2}>
              {(plan.registers ?? []).map((one) => (
                <List.Item key={`${one.what}/${one.name}`}>
                  {one.what} {one.name}, by <span className="ms-mono">{one.by}</span>
                </List.Item>
              ))}
            </List>
          </div>
          <Create plan={plan} />
        </Stack>
      </Section>
    </div>
  );
}

/** The project's record, by whoever may; its files are anybody's to take. */
function Create({ plan }: { plan: ProjectPlan }) {
  const me = useMe();
  const [budget, setBudget] = useState<number>();
  const create = useMutation({
    mutationFn: () =>
      unwrap(
        api.POST('/api/v1/projects', {
          body: {
            name: plan.name,
            owner: String(plan.inputs.owner),
            description: String(plan.inputs.description),
            monthly_budget: budget ?? null,
          },
        }),
      ),
  });
  const may = me.data?.roles.some((role) => role === 'developer' || role === 'admin') ?? false;
  const made = create.data;
  return (
    <Stack gap="sm">
      {!made && (
        <NumberInput
          label="Monthly budget, in USD"
          description="At its end nothing is started any more. Left empty: no limit."
          value={budget ?? ''}
          onChange={(found) => setBudget(typeof found === 'number' && found > 0 ? found : undefined)}
          min={0}
          hideControls
          w="fit-content"
        />
      )}
      <Group gap="xs">
        {!made && (
          <Button disabled={!may} loading={create.isPending} onClick={() => create.mutate()}>
            Create the project
          </Button>
        )}
        <Button variant={made ? 'filled' : 'default'} onClick={() => download(plan)}>
          Download the files
        </Button>
      </Group>
      {!may && me.data && (
        <Text size="sm" c="dimmed">
          To put a project on record one is a developer or an admin of the platform.
        </Text>
      )}
      {create.isError && <Problem error={create.error} />}
      {made && (
        <Stack gap={4} role="status">
          <Text size="sm">
            Project {made.name} is on record, owned by {made.owner}. Who may do what in it: <Anchor component={Link} href={`/access?project=${made.name}`}>access</Anchor>.
          </Text>
          <Text size="sm">Unpack its files, and go on with:</Text>
          <Code block className="ms-pre" tabIndex={0}>
            {(plan.next ?? []).filter((command) => !command.startsWith('mainspring project create')).join('\n')}
          </Code>
        </Stack>
      )}
    </Stack>
  );
}

/** What was shown, byte by byte: the plan has it. */
function download(plan: ProjectPlan): void {
  const bytes = Uint8Array.from(atob(plan.archive), (one) => one.charCodeAt(0));
  const address = URL.createObjectURL(new Blob([bytes], { type: 'application/zip' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = `${plan.name}.zip`;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
