import { Text, VisuallyHidden } from '@mantine/core';
import { type KeyboardEvent, useRef, useState } from 'react';
import { type NodeReport, type PipelineNode, plain } from '../api/words';
import { seconds } from './values';

const WIDTH = 184;
const HEIGHT = 58;
const GAP_X = 48;
const GAP_Y = 14;

interface Placed {
  node: PipelineNode;
  /** How many steps come before it at the most, and its place among those of as many. */
  column: number;
  row: number;
  x: number;
  y: number;
}

interface Props {
  nodes: readonly PipelineNode[];
  reports: ReadonlyMap<string, NodeReport>;
  selected: string;
  onSelect: (name: string) => void;
}

/** Steps from left to right, each a button: tab goes along, arrows go by the edges, and the state is a word and not only a colour. */
export function PipelineGraph({ nodes, reports, selected, onSelect }: Props) {
  const buttons = useRef(new Map<string, HTMLButtonElement>());
  const [focused, setFocused] = useState('');
  const placed = place(nodes);
  const by = new Map(placed.map((one) => [one.node.name, one]));
  const edges = placed.flatMap((to) => needs(to.node).flatMap((name) => [[by.get(name), to] as const]));
  const width = Math.max(...placed.map((one) => one.x)) + WIDTH;
  const height = Math.max(...placed.map((one) => one.y)) + HEIGHT;

  const move = (event: KeyboardEvent, from: Placed) => {
    const to = neighbour(placed, from, event.key);
    if (!to) return;
    event.preventDefault();
    buttons.current.get(to.node.name)?.focus();
  };
  const stop = focused || selected || placed[0]?.node.name;
  return (
    <div className="ms-scroll" role="group" aria-label="Steps, in their order">
      <div className="ms-graph" style={{ width, height }}>
        <svg width={width} height={height} aria-hidden="true">
          {edges.map(([from, to]) => from && <path key={`${from.node.name}/${to.node.name}`} className="ms-edge" d={curve(from, to)} />)}
        </svg>
        {placed.map((one) => {
          const report = reports.get(one.node.name);
          const needed = needs(one.node);
          return (
            <button
              key={one.node.name}
              ref={(element) => {
                if (element) buttons.current.set(one.node.name, element);
                else buttons.current.delete(one.node.name);
              }}
              type="button"
              className="ms-node"
              data-state={report?.state ?? 'waiting'}
              aria-pressed={one.node.name === selected}
              tabIndex={one.node.name === stop ? 0 : -1}
              style={{ left: one.x, top: one.y, width: WIDTH, height: HEIGHT }}
              onFocus={() => setFocused(one.node.name)}
              onKeyDown={(event) => move(event, one)}
              onClick={() => onSelect(one.node.name)}
            >
              <span className="ms-node-name">{one.node.name}</span>
              <Text span size="xs">
                {stateWords(report)}
              </Text>
              {needed.length > 0 && <VisuallyHidden>after {needed.join(' and ')}</VisuallyHidden>}
            </button>
          );
        })}
      </div>
    </div>
  );
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

/** A node stands right of all that it needs. The graph's own order has those first. */
function place(nodes: readonly PipelineNode[]): Placed[] {
  const columns = new Map<string, number>();
  const rows: number[] = [];
  return nodes.map((node) => {
    const column = Math.max(-1, ...needs(node).map((name) => columns.get(name) ?? -1)) + 1;
    columns.set(node.name, column);
    const row = rows[column] ?? 0;
    rows[column] = row + 1;
    return { node, column, row, x: column * (WIDTH + GAP_X), y: row * (HEIGHT + GAP_Y) };
  });
}

function curve(from: Placed, to: Placed): string {
  const [x, y, endX, endY] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
  const middle = (x + endX) / 2;
  return `M ${x} ${y} C ${middle} ${y}, ${middle} ${endY}, ${endX} ${endY}`;
}

/** Up and down in a column, left to what is needed, right to what needs it. */
function neighbour(placed: Placed[], from: Placed, key: string): Placed | undefined {
  const named = (name: string | undefined) => placed.find((one) => one.node.name === name);
  switch (key) {
    case 'ArrowUp':
    case 'ArrowDown':
      return placed.find((one) => one.column === from.column && one.row === from.row + (key === 'ArrowUp' ? -1 : 1));
    case 'ArrowLeft':
      return named(needs(from.node)[0]);
    case 'ArrowRight':
      return placed.find((one) => needs(one.node).includes(from.node.name));
    case 'Home':
      return placed[0];
    case 'End':
      return placed.at(-1);
    default:
      return undefined;
  }
}
