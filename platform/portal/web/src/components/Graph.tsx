import { Text, VisuallyHidden } from '@mantine/core';
import { type KeyboardEvent, useRef, useState } from 'react';

const WIDTH = 184;
const HEIGHT = 58;
const GAP_X = 48;
const GAP_Y = 14;

export interface GraphNode {
  id: string;
  name: string;
  /** What there is to say of it in two words: its state, or its kind. */
  words: string;
  /** Which colour its edge has; the words say the same. */
  state?: string;
  /** What comes before it, by id. */
  needs: readonly string[];
}

interface Placed {
  node: GraphNode;
  /** How many come before it at the most, and its place among those of as many. */
  column: number;
  row: number;
  x: number;
  y: number;
}

interface Props {
  label: string;
  nodes: readonly GraphNode[];
  selected: string;
  onSelect: (id: string) => void;
}

/** From left to right, each a button: tab goes along, arrows go by the edges, and what a colour says is said in words, too. */
export function Graph({ label, nodes, selected, onSelect }: Props) {
  const buttons = useRef(new Map<string, HTMLButtonElement>());
  const [focused, setFocused] = useState('');
  const placed = place(nodes);
  const by = new Map(placed.map((one) => [one.node.id, one]));
  const edges = placed.flatMap((to) => to.node.needs.map((id) => [by.get(id), to] as const));
  const width = Math.max(...placed.map((one) => one.x)) + WIDTH;
  const height = Math.max(...placed.map((one) => one.y)) + HEIGHT;

  const move = (event: KeyboardEvent, from: Placed) => {
    const to = neighbour(placed, from, event.key);
    if (!to) return;
    event.preventDefault();
    buttons.current.get(to.node.id)?.focus();
  };
  const stop = focused || selected || placed[0]?.node.id;
  return (
    <div className="ms-scroll" role="group" aria-label={label}>
      <div className="ms-graph" style={{ width, height }}>
        <svg width={width} height={height} aria-hidden="true">
          {edges.map(([from, to]) => from && <path key={`${from.node.id}/${to.node.id}`} className="ms-edge" d={curve(from, to)} />)}
        </svg>
        {placed.map((one) => {
          const needed = one.node.needs.map((id) => by.get(id)?.node.name).filter(Boolean);
          return (
            <button
              key={one.node.id}
              ref={(element) => {
                if (element) buttons.current.set(one.node.id, element);
                else buttons.current.delete(one.node.id);
              }}
              type="button"
              className="ms-node"
              data-state={one.node.state}
              aria-pressed={one.node.id === selected}
              tabIndex={one.node.id === stop ? 0 : -1}
              style={{ left: one.x, top: one.y, width: WIDTH, height: HEIGHT }}
              onFocus={() => setFocused(one.node.id)}
              onKeyDown={(event) => move(event, one)}
              onClick={() => onSelect(one.node.id)}
            >
              <span className="ms-node-name" title={one.node.name}>
                {one.node.name}
              </span>
              <Text span size="xs">
                {one.node.words}
              </Text>
              {needed.length > 0 && <VisuallyHidden>after {needed.join(' and ')}</VisuallyHidden>}
            </button>
          );
        })}
      </div>
    </div>
  );
}

/** A node stands right of all that it needs. Where those go in a circle, one of them is where it begins. */
function place(nodes: readonly GraphNode[]): Placed[] {
  const by = new Map(nodes.map((node) => [node.id, node]));
  const columns = new Map<string, number>();
  const column = (node: GraphNode): number => {
    const known = columns.get(node.id);
    if (known !== undefined) return known;
    columns.set(node.id, 0);
    const found = Math.max(-1, ...node.needs.map((id) => by.get(id)).map((one) => (one ? column(one) : -1))) + 1;
    columns.set(node.id, found);
    return found;
  };
  const rows: number[] = [];
  return nodes.map((node) => {
    const at = column(node);
    const row = rows[at] ?? 0;
    rows[at] = row + 1;
    return { node, column: at, row, x: at * (WIDTH + GAP_X), y: row * (HEIGHT + GAP_Y) };
  });
}

function curve(from: Placed, to: Placed): string {
  const [x, y, endX, endY] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2];
  const middle = (x + endX) / 2;
  return `M ${x} ${y} C ${middle} ${y}, ${middle} ${endY}, ${endX} ${endY}`;
}

/** Up and down in a column, left to what is needed, right to what needs it. */
function neighbour(placed: Placed[], from: Placed, key: string): Placed | undefined {
  switch (key) {
    case 'ArrowUp':
    case 'ArrowDown':
      return placed.find((one) => one.column === from.column && one.row === from.row + (key === 'ArrowUp' ? -1 : 1));
    case 'ArrowLeft':
      return placed.find((one) => one.node.id === from.node.needs[0]);
    case 'ArrowRight':
      return placed.find((one) => one.node.needs.includes(from.node.id));
    case 'Home':
      return placed[0];
    case 'End':
      return placed.at(-1);
    default:
      return undefined;
  }
}
