import { Progress, Table } from '@mantine/core';

interface Props {
  label: string;
  /** What the numbers are of: `USD`. */
  unit: string;
  groups: Record<string, number>;
  show: (value: number) => string;
}

/** Sums by name, the largest first: a table whose rows have bars, so that it is read as well as seen. */
export function Bars({ label, unit, groups, show }: Props) {
  const rows = Object.entries(groups).sort((one, other) => other[1] - one[1]);
  const most = Math.max(...rows.map(([, value]) => value), 0);
  return (
    <div className="ms-scroll" role="region" aria-label={label} tabIndex={0}>
      <Table aria-label={`${label}, in ${unit}`} verticalSpacing={4}>
        <Table.Tbody>
          {rows.map(([name, value]) => (
            <Table.Tr key={name}>
              <Table.Th scope="row" fw={400} className="ms-break">
                {name}
              </Table.Th>
              <Table.Td w="45%" aria-hidden="true">
                <Progress value={most ? (100 * value) / most : 0} aria-label={`${name}: share of the largest`} />
              </Table.Td>
              <Table.Td ta="right" className="ms-mono">
                {show(value)}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </div>
  );
}
