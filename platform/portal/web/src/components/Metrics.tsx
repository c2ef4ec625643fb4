import type { MetricsRow } from '../api/words';
import { DataTable } from './DataTable';

type Row = [split: string, found: MetricsRow];

const number = (value: number) => value.toFixed(4);

/** A model's quality by split and by peer, each with its rows and base rate: a number without them says little. */
export function Metrics({ metrics, of = '' }: { metrics: unknown; /** Whose, where a page has several. */ of?: string }) {
  if (typeof metrics !== 'object' || metrics === null) return null;
  const rows = Object.entries(metrics as Record<string, MetricsRow>);
  if (!rows.length) return null;
  return (
    <DataTable<Row>
      label={of ? `Metrics of ${of}` : 'Metrics'}
      rows={rows}
      rowKey={([split]) => split}
      columns={[
        { title: 'Split', cell: ([split]) => split },
        { title: 'AUC', cell: ([, found]) => number(found.auc), numeric: true },
        { title: 'Brier', cell: ([, found]) => number(found.brier), numeric: true },
        { title: 'Log loss', cell: ([, found]) => number(found.log_loss), numeric: true },
        { title: 'Calibration error', cell: ([, found]) => number(found.calibration_error), numeric: true },
        { title: 'Base rate', cell: ([, found]) => number(found.base_rate), numeric: true },
        { title: 'Rows', cell: ([, found]) => found.rows.toLocaleString('en'), numeric: true },
      ]}
    />
  );
}
