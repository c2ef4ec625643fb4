/** What a run is asked when a person starts it: a form out of the API's own description of the request. */
import type { Schemas } from './client';
import type { Answer, InputField, InputSchema } from './words';

/** An import is on record as a run and started by nobody here. */
export type RunKind = Exclude<Schemas['RunCreate']['kind'] & string, 'import'>;

interface Kind {
  title: string;
  /** Names of the request's fields, in the order in which they are asked; a dot leads into those that the kind has of its own. */
  asks: string[];
  /** What a request of this kind must have, beside what the description says of all. */
  needs: string[];
  /** Who may start one. */
  roles: string[];
}

const developers = ['developer', 'admin'];
const sized = ['environment', 'endpoint', 'sample_fraction', 'epochs'];

export const kinds: Record<RunKind, Kind> = {
  train: {
    title: "train a model on the project's data",
    asks: [...sized, 'model.learning_rate', 'model.dropout', 'model.weight_decay', 'model.batch_rows', 'max_cost', 'cause'],
    needs: [],
    roles: developers,
  },
  tune: {
    title: "study the model's parameters, and train with the best",
    asks: [...sized, 'tune.trials', 'tune.grace_epochs', 'tune.max_cpu_hours', 'tune.train_best', 'max_cost'],
    needs: [],
    roles: developers,
  },
  score: {
    title: 'score a dataset with a model that exists',
    asks: ['bundle_digest', 'score.input', 'score.output', 'score.as_of', 'score.part_rows', 'environment', 'sample_fraction', 'max_cost'],
    needs: ['bundle_digest'],
    roles: developers,
  },
  deploy: {
    title: 'bring a model that exists to an endpoint, by canary',
    asks: ['endpoint', 'bundle_digest', 'environment', 'cause'],
    needs: ['endpoint', 'bundle_digest'],
    roles: developers,
  },
  pipeline: {
    title: 'run a pipeline again that ran before',
    asks: ['pipeline.pack', 'pipeline.use_cache', 'environment', 'max_cost'],
    needs: [],
    roles: developers,
  },
  retire: {
    title: 'take a model out of use',
    asks: ['bundle_digest', 'retire.reason', 'retire.replace_by', 'retire.is_revocation', 'environment'],
    needs: ['bundle_digest'],
    roles: ['approver', 'admin'],
  },
  release: {
    title: 'take an endpoint out of service',
    asks: ['endpoint', 'release.reason', 'environment'],
    needs: ['endpoint'],
    roles: ['approver', 'admin'],
  },
};

/** Those that take something out of use: asked for twice, and no budget is in their way. */
export const ends: ReadonlySet<RunKind> = new Set<RunKind>(['retire', 'release']);

/** The part of JSON Schema that the API's description is written in. */
interface Described extends InputField {
  $ref?: string;
  allOf?: Described[];
  oneOf?: Described[];
  properties?: Record<string, Described>;
  required?: string[];
}

export interface ApiDocument {
  components: { schemas: Record<string, Described> };
}

/** The questions of one kind of run. What this API does not know of a request is not asked. */
export function questions(api: ApiDocument, kind: RunKind): InputSchema {
  const request = api.components.schemas.RunCreate;
  const properties: Record<string, InputField> = {};
  const required: string[] = [...kinds[kind].needs];
  for (const path of kinds[kind].asks) {
    const [first, second] = path.split('.') as [string, string?];
    let of: Described | undefined = request;
    let about = followed(api, of?.properties?.[first]);
    if (second !== undefined) {
      of = about;
      about = followed(api, of?.properties?.[second]);
      if (of?.required?.includes(second)) required.push(path);
    }
    if (about) properties[path] = { ...about, label: (second ?? first).replaceAll('_', ' ') };
  }
  return { properties, required };
}

/** What a reference leads to, what is in the place of `null`; what stands beside them counts. */
function followed(api: ApiDocument, node: Described | undefined): Described | undefined {
  if (!node) return undefined;
  const name = node.$ref?.split('/').at(-1);
  const inner = name ? api.components.schemas[name] : (node.allOf ?? node.oneOf)?.find((one) => (one.type as string) !== 'null');
  const { default: given, ...found } = { ...followed(api, inner), ...node };
  return given === null || given === undefined ? found : { ...found, default: given };
}

/** The request as its form was answered; what is empty is not said, so that the API's defaults count. */
export function request(project: string, kind: RunKind, answers: Record<string, Answer>): Schemas['RunCreate'] {
  const body: Record<string, unknown> = { project, kind };
  for (const [path, value] of Object.entries(answers)) {
    if (value === '') continue;
    const [first, second] = path.split('.') as [string, string?];
    if (second === undefined) body[first] = value;
    else body[first] = { ...(body[first] as object | undefined), [second]: value };
  }
  return body as unknown as Schemas['RunCreate'];
}

/** Once for each request as it is: sent again it starts nothing anew, and another one is another run. */
export function keyed(): (body: Schemas['RunCreate']) => Schemas['RunCreate'] {
  let [of, key] = ['', ''];
  return (body) => {
    const text = JSON.stringify(body);
    if (text !== of) {
      of = text;
      // `randomUUID` is there on HTTPS and on this machine alone.
      key = `portal-${[...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, '0')).join('')}`;
    }
    return { ...body, idempotency_key: key };
  };
}

const options: Record<string, string> = {
  environment: '--environment',
  endpoint: '--endpoint',
  sample_fraction: '--sample-fraction',
  epochs: '--epochs',
  max_cost: '--max-cost',
  'tune.trials': '--trials',
  'tune.max_cpu_hours': '--max-cpu-hours',
  bundle_digest: '--bundle',
  'score.input': '--input',
  'score.output': '--output',
  'score.as_of': '--as-of',
  'score.part_rows': '--part-rows',
  'retire.reason': '--reason',
  'retire.replace_by': '--replace-by',
};

/** The command that starts the same, as far as there are options for it. */
export function command(project: string, kind: RunKind, answers: Record<string, Answer>): string {
  const said = (...names: string[]) =>
    names
      .filter((name) => answers[name] !== undefined && answers[name] !== '')
      .map((name) => ` ${options[name]} ${quoted(answers[name] as Answer)}`)
      .join('');
  const name = project || 'PROJECT';
  const bundle = String(answers.bundle_digest || 'DIGEST');
  const reason = quoted(answers['retire.reason'] || 'WHY');
  switch (kind) {
    case 'train':
      return `mainspring run start ${name}${said(...sized, 'max_cost')}`;
    case 'tune':
      return `mainspring tune ${name}${said(...sized, 'tune.trials', 'tune.max_cpu_hours')}${answers['tune.train_best'] === false ? ' --only-parameters' : ''}`;
    case 'score':
      return `mainspring batch score ${name} --bundle ${bundle} --input ${quoted(answers['score.input'] || 'FROM')} --output ${quoted(answers['score.output'] || 'TO')}${said('score.as_of', 'score.part_rows', 'environment', 'sample_fraction', 'max_cost')}`;
    case 'deploy':
      return `mainspring endpoint promote ${answers.endpoint || 'NAME'} ${bundle}${answers.cause ? ` --reason ${quoted(answers.cause)}` : ''}`;
    case 'pipeline':
      return 'mainspring run PIPELINE.py';
    case 'release':
      return `mainspring endpoint release ${quoted(answers.endpoint || 'NAME')} --reason ${quoted(answers['release.reason'] || 'WHY')}`;
    case 'retire':
      return `mainspring model ${answers['retire.is_revocation'] ? 'revoke' : 'retire'} ${name} ${bundle} --reason ${reason}${said('retire.replace_by', 'environment')}`;
  }
}

/** As a shell takes it for one word. */
function quoted(value: Answer): string {
  const text = String(value);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
