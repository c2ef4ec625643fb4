import { NativeSelect } from '@mantine/core';
import { useProjects } from '../api/queries';

interface Props {
  value: string;
  onChange: (project: string) => void;
  /** What stands for no project; without it one must be chosen. */
  all?: string;
}

export function ProjectSelect({ value, onChange, all }: Props) {
  const projects = useProjects();
  const names = (projects.data?.items ?? []).map((one) => one.name);
  return (
    <NativeSelect
      label="Project"
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={[...(all === undefined ? [] : [{ value: '', label: all }]), ...names]}
    />
  );
}
