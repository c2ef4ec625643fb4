import { type NodeReport, type PipelineNode, plain } from '../api/words';
import { Graph } from './Graph';
import { seconds } from './values';

interface Props {
  nodes: readonly PipelineNode[];
  reports: ReadonlyMap<string, NodeReport>;
  selected: string;
  onSelect: (name: string) => void;
}

/** A pipeline's steps, and where each is. */
export function PipelineGraph({ nodes, reports, selected, onSelect }: Props) {
  const steps = nodes.map((node) => ({
    id: node.name,
    name: node.name,
    words: stateWords(reports.get(node.name)),
    state: reports.get(node.name)?.state ?? 'waiting',
    needs: needs(node),
  }));
  return <Graph label="Steps, in their order" nodes={steps} selected={selected} onSelect={onSelect} />;
}

/** The nodes whose answers it takes, each once. */
export function needs(node: PipelineNode): string[] {
  return [...new Set(Object.values(node.inputs ?? {}).map((one) => one.node ?? ''))].filter(Boolean);
}

export function stateWords(report: NodeReport | undefined): string {
  const state = report?.state ?? 'waiting';
  if (state === 'done' && report?.from_cache && report.from_cache >= (report.items ?? 1)) return 'done before, kept';
  if (state === 'done') return `done in ${seconds(report?.seconds ?? 0)}`;
  return state === 'approval' ? 'waits for approval' : plain(state);
}
