import { Button, Code, Group, NativeSelect, Stack, Text } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { useLocation } from 'wouter';
import { ApiError, api, unwrap } from '../api/client';
import { useDescription, useEndpoints, useMe, useModels, useProjects, useRuns, useUnitCosts } from '../api/queries';
import { type ApiDocument, command, ends, keyed, kinds, questions, type RunKind, request } from '../api/runForm';
import { type Answer, type InputField, type Project, rolesIn, shortDigest } from '../api/words';
import { BudgetLine } from '../components/BudgetLine';
import { Confirm } from '../components/Confirm';
import { Page } from '../components/Page';
import { ProjectSelect } from '../components/ProjectSelect';
import { SchemaForm } from '../components/SchemaForm';
import { Section } from '../components/Section';
import { Empty, Problem, Shown } from '../components/states';
import { useSearch } from '../components/useSearch';
import { money, relative } from '../components/values';

const names = Object.keys(kinds) as RunKind[];

/** Starts work: what kind of, what the API asks of it, what there is to pay it with; then the run as it goes. */
export default function NewRun() {
  const [chosen, setProject] = useSearch('project');
  const [wanted, setKind] = useSearch('kind', 'train');
  const [bundle] = useSearch('bundle');
  // A link from a model's page brings it along.
  const [answers, setAnswers] = useState<Record<string, Answer>>(() => bundle ? ({ bundle_digest: bundle } as Record<string, Answer>) : {});
  const projects = useProjects();
  const description = useDescription();
  const all = projects.data?.items ?? [];
  const project = all.find((one) => one.name === (chosen || all[0]?.name));
  const kind = names.find((one) => one === wanted) ?? 'train';
  const change = (set: (value: string) => void) => (value: string) => {
    setAnswers({});
    set(value);
  };
  return (
    <Page title="New run" command={command(project?.name ?? chosen, kind, answers)} parent={['Runs', '/runs']} environment={String(answers.environment || 'dev')}>
      <Shown of={projects} rows={2}>
        {() =>
          all.length ? (
            <Group align="end" gap="sm">
              <ProjectSelect value={project?.name ?? ''} onChange={change(setProject)} all={project ? undefined : ''} />
              <NativeSelect
                label="What to do"
                value={kind}
                onChange={(event) => change(setKind)(event.currentTarget.value)}
                data={names.map((one) => ({ value: one, label: `${one}: ${kinds[one].title}` }))}
              />
            </Group>
          ) : (
            <Empty command="mainspring project create NAME --owner OWNER">You can see no project yet: a run is always of one.</Empty>
          )
        }
      </Shown>
      {chosen && projects.data && !project && (
        <Text size="sm" role="alert">
          There is no project “{chosen}” that you may know of; choose another.
        </Text>
      )}
      {project && (
        <Shown of={description} rows={6}>
          {(found) => (
            <div className="ms-grid">
              <Questions
                key={`${project.name}/${kind}`}
                document={found}
                project={project}
                kind={kind}
                answers={answers}
                onAnswer={(name, value) =>
                  setAnswers(({ [name]: _, ...rest }) => (value === undefined ? rest : { ...rest, [name]: value }))
                }
              />
              <Money project={project} kind={kind} limit={answers.max_cost} />
            </div>
          )}
        </Shown>
      )}
    </Page>
  );
}

interface QuestionsProps {
  document: ApiDocument;
  project: Project;
  kind: RunKind;
  answers: Record<string, Answer>;
  onAnswer: (name: string, value: Answer | undefined) => void;
}

function Questions({ document, project, kind, answers, onAnswer }: QuestionsProps) {
  const [, go] = useLocation();
  const me = useMe();
  const [withKey] = useState(keyed);
  const schema = questions(document, kind);
  const offered = useOffered(project.name);
  for (const [name, more] of Object.entries(offered)) {
    if (schema.properties[name]) Object.assign(schema.properties[name], more);
  }
  // A list that must be chosen from shows its first as chosen: it is.
  const chosen = { ...answers };
  for (const name of schema.required ?? []) chosen[name] ??= schema.properties[name]?.choices?.[0]?.value ?? '';
  const body = request(project.name, kind, chosen);
  const start = useMutation({
    mutationFn: () => unwrap(api.POST('/api/v1/runs', { body: withKey(body) })),
    onSuccess: (run) => go(`/runs/${run.run_id}`),
  });
  const answer = (name: string, value: Answer | undefined) => {
    start.reset();
    onAnswer(name, value);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    // A run that takes something out of use is asked for twice.
    if (!ends.has(kind)) start.mutate();
  };
  const environment = String(chosen.environment || 'dev');
  const roles = rolesIn(me.data, project.name, environment);
  const may = kinds[kind].roles.some((role) => roles.has(role));
  const wrong = start.error instanceof ApiError && start.error.field in schema.properties ? start.error : undefined;
  return (
    <Section title="What is asked">
      <form onSubmit={submit}>
        <Stack gap="sm">
          {kind === 'pipeline' && (
            <Empty command="mainspring run PIPELINE.py --set NAME=VALUE">A pipeline is written as a file, and first started from where that is.</Empty>
          )}
          <SchemaForm schema={schema} answers={chosen} onAnswer={answer} problem={wrong} />
          <details className="ms-file">
            <summary>The request, as it would be sent</summary>
            <Code block className="ms-pre" tabIndex={0}>
              {JSON.stringify(body, null, 2)}
            </Code>
          </details>
          <Group>
            {ends.has(kind) ? (
              <Confirm
                label="Start the run"
                question={
                  kind === 'release'
                    ? `Take ${String(chosen.endpoint ?? '')} of ${project.name} out of service?`
                    : `Take ${shortDigest(String(chosen.bundle_digest ?? ''))} of ${project.name} out of use?`
                }
                disabled={!may}
                loading={start.isPending}
                onConfirm={() => start.mutate()}
              />
            ) : (
              <Button type="submit" disabled={!may} loading={start.isPending}>
                Start the run
              </Button>
            )}
            {!may && me.data && (
              <Text size="sm" c="dimmed">
                To start it one is {kinds[kind].roles.join(' or ')} of {project.name} in {environment}.
              </Text>
            )}
          </Group>
          {start.isError && !wrong && <Problem error={start.error} />}
        </Stack>
      </form>
    </Section>
  );
}

/** What there is to choose from in this project, by the name of the question. */
function useOffered(project: string): Record<string, Partial<InputField>> {
  const me = useMe();
  const models = useModels(project).data?.pages.flatMap((one) => one.items) ?? [];
  const endpoints = useEndpoints(project).data?.pages.flatMap((one) => one.items) ?? [];
  const runs = useRuns(project).data?.pages.flatMap((one) => one.items) ?? [];
  const mine = Object.keys(me.data?.projects?.[project] ?? {}).filter((place) => place !== '*');
  const bundles = once(models.map((one) => one.bundle_digest)).map((digest) => {
    const one = models.find((model) => model.bundle_digest === digest);
    return { value: digest, label: `${one?.name} ${one?.version && `v${one.version}`} (${shortDigest(digest)})` };
  });
  const packs = once(runs.map((run) => run.pack ?? '')).map((digest) => {
    const last = runs.find((run) => run.pack === digest);
    return { value: digest, label: `${shortDigest(digest)}, ${last ? relative(new Date(last.created_at), new Date()) : ''}` };
  });
  return {
    environment: { suggestions: once(['dev', 'staging', 'prod', ...mine]) },
    endpoint: { suggestions: endpoints.map((one) => one.name) },
    bundle_digest: { choices: bundles },
    'retire.replace_by': { choices: bundles },
    'pipeline.pack': { choices: packs },
  };
}

const once = (all: string[]) => [...new Set(all)].filter((one) => one !== '');

/** What the project has left, and what such runs have cost. */
function Money({ project, kind, limit }: { project: Project; kind: RunKind; limit: Answer | undefined }) {
  const units = useUnitCosts(project.name);
  const before = units.data?.runs.find((one) => one.kind === kind);
  return (
    <Section title="What pays for it">
      <Stack gap="sm">
        <BudgetLine project={project} isForecast />
        <Text size="sm">
          {typeof limit === 'number'
            ? `${money(limit)} are kept free for this run, and it is stopped there.`
            : ends.has(kind)
              ? 'Taking something out of use costs nothing.'
              : 'Without a limit of its own, as much is kept free for it as the settings say; the budget alone stops it.'}
        </Text>
        {before && (
          <Text size="sm">
            {before.runs === 1 ? 'The one before' : `The ${before.runs} before`} of kind {kind} cost {money(before.cost_per_run)}
            {before.runs > 1 && ' each, on average'}.
          </Text>
        )}
      </Stack>
    </Section>
  );
}
