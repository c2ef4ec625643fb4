import { Checkbox, NativeSelect, NumberInput, Stack, TextInput } from '@mantine/core';
import { useId } from 'react';
import { type Answer, type InputField, type InputSchema, plain } from '../api/words';

interface Props {
  schema: InputSchema;
  answers: Record<string, Answer>;
  onAnswer: (name: string, value: Answer | undefined) => void;
  /** What the API said of one answer. */
  problem?: { field: string; message: string };
}

/** A form of what a JSON Schema asks, in its order. What is left out has the schema's default. */
export function SchemaForm({ schema, answers, onAnswer, problem }: Props) {
  return (
    <Stack gap="sm">
      {Object.entries(schema.properties).map(([name, about]) => (
        <Field
          key={name}
          name={name}
          about={about}
          required={schema.required?.includes(name) ?? false}
          value={answers[name] ?? about.default}
          error={problem?.field === name ? problem.message : undefined}
          set={(value) => onAnswer(name, value)}
        />
      ))}
    </Stack>
  );
}

interface FieldProps {
  name: string;
  about: InputField;
  required: boolean;
  value: Answer | undefined;
  error: string | undefined;
  set: (value: Answer | undefined) => void;
}

function Field({ name, about, required, value, error, set }: FieldProps) {
  const shared = { name, label: about.label ?? plain(name), description: about.description, required, error };
  const suggested = useId();
  if (about.choices) {
    const none = required && about.choices.length ? [] : [{ value: '', label: about.choices.length ? '–' : 'there is none' }];
    return (
      <NativeSelect {...shared} data={[...none, ...about.choices]} value={String(value ?? '')} onChange={(event) => set(event.currentTarget.value)} />
    );
  }
  if (about.enum) {
    return <NativeSelect {...shared} data={about.enum} value={String(value ?? '')} onChange={(event) => set(event.currentTarget.value)} />;
  }
  if (about.type === 'boolean') {
    return (
      <Checkbox {...shared} required={false} checked={value === true} onChange={(event) => set(event.currentTarget.checked)} />
    );
  }
  if (about.type === 'integer' || about.type === 'number') {
    return (
      <NumberInput
        {...shared}
        value={typeof value === 'number' ? value : ''}
        onChange={(found) => set(typeof found === 'number' ? found : undefined)}
        min={about.minimum}
        max={about.maximum}
        allowDecimal={about.type === 'number'}
        hideControls
      />
    );
  }
  return (
    <>
      <TextInput
        {...shared}
        value={typeof value === 'string' ? value : ''}
        // An empty answer is none: the default counts, or the API says that there must be one.
        onChange={(event) => set(event.currentTarget.value)}
        maxLength={about.maxLength}
        autoComplete="off"
        list={about.suggestions && suggested}
      />
      {about.suggestions && (
        <datalist id={suggested}>
          {about.suggestions.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      )}
    </>
  );
}
