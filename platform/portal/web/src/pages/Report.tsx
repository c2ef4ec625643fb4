import { Badge, Button, List, Text } from '@mantine/core';
import { useState } from 'react';
import type { Schemas } from '../api/client';
import { useReport, useReportPage } from '../api/queries';
import { type Column, DataTable } from '../components/DataTable';
import { FramedPage } from '../components/FramedPage';
import { Kpis } from '../components/Kpis';
import { Page } from '../components/Page';
import { Section } from '../components/Section';
import { Empty, Shown } from '../components/states';
import { Digest, RunLink, When } from '../components/values';

type Whole = NonNullable<Schemas['ReportView']['report']>;
type Slice = NonNullable<Whole['slices']>[number];
type Input = NonNullable<Whole['columns']>[number];

const number = (value: number | null | undefined) => (value === null || value === undefined ? '–' : value.toFixed(4));
const share = (value: number | null | undefined) => (value === null || value === undefined ? '–' : `${(100 * value).toFixed(1)} %`);

const slices: Column<Slice>[] = [
  { title: 'Of', cell: (one) => (one.column ? `${one.column} = ${one.value}` : 'all answers') },
  { title: 'Answers', cell: (one) => one.rows.toLocaleString('en'), numeric: true },
  { title: 'With outcome', cell: (one) => (one.known ?? 0).toLocaleString('en'), numeric: true },
  { title: 'Predicted', cell: (one) => number(one.known_mean_score), numeric: true },
  { title: 'Happened', cell: (one) => number(one.base_rate), numeric: true },
  { title: 'AUC', cell: (one) => number(one.auc), numeric: true },
  { title: 'Brier', cell: (one) => number(one.brier), numeric: true },
  { title: 'PSI of scores', cell: (one) => number(one.score_psi), numeric: true },
];

const inputs: Column<Input>[] = [
  { title: 'Column', cell: (one) => one.name || 'the scores' },
  { title: 'PSI', cell: (one) => number(one.psi), numeric: true },
  { title: 'Missing in training', cell: (one) => share(one.missing_reference), numeric: true },
  { title: 'Missing', cell: (one) => share(one.missing), numeric: true },
  { title: 'Unseen', cell: (one) => share(one.unseen), numeric: true },
  { title: 'Mean in training', cell: (one) => number(one.mean_reference), numeric: true },
  { title: 'Mean', cell: (one) => number(one.mean), numeric: true },
];

/** One check of a served model over a window: what was found, against what it was trained on. */
export default function Report({ id }: { id: string }) {
  const report = useReport(id);
  return (
    <Page title="Report" command={`mainspring monitor show ${id}`} parent={['Monitoring', '/monitoring']} environment={report.data?.environment}>
      <Shown of={report} rows={6}>
        {(found) => (
          <>
            <Text size="sm">
              {found.endpoint} of {found.project}, bundle <Digest value={found.bundle_digest} />
              {found.training_run_id && (
                <>
                  {' '}
                  trained in <RunLink id={found.training_run_id} />
                </>
              )}
              , {found.begins.slice(0, 16)} to {found.ends.slice(0, 16)} UTC, made <When at={found.recorded_at} />
            </Text>
            {found.report ? <Contents report={found.report} begins={found.begins} ends={found.ends} /> : <Empty>This report has no contents on record.</Empty>}
            <Section title="Evidently">
              <Evidently id={id} digest={found.html_digest} />
            </Section>
          </>
        )}
      </Shown>
    </Page>
  );
}

/** The page that the check left: drift by column, what is known of the target, the model's performance and its slices'. */
function Evidently({ id, digest }: { id: string; digest?: string }) {
  const [isAsked, setAsked] = useState(false);
  const page = useReportPage(id, isAsked);
  if (!digest) return <Empty>The check left no page: it had too few rows, or was told to make none.</Empty>;
  if (!isAsked)
    return (
      <Button variant="default" size="xs" onClick={() => setAsked(true)}>
        Show its page
      </Button>
    );
  return (
    <Shown of={page} rows={6}>
      {(html) => <FramedPage title="Evidently's page" html={html} />}
    </Shown>
  );
}

function Contents({ report, begins, ends }: { report: Whole; begins: string; ends: string }) {
  return (
    <>
      <Section title="Findings">
        {report.message && <Text size="sm">{report.message}</Text>}
        {report.findings?.length ? (
          <List size="sm" spacing="xs" listStyleType="none">
            {report.findings.map((one) => (
              <List.Item key={`${one.kind}/${one.subject}`}>
                <Badge color={one.severity === 'alarm' ? 'red' : 'gray'} variant="light" tt="none" className="ms-badge">
                  {one.severity}: {one.kind}
                </Badge>{' '}
                {one.message}
              </List.Item>
            ))}
          </List>
        ) : (
          !report.message && <Empty>Nothing moved beyond its limit.</Empty>
        )}
      </Section>
      <Section title="What the answers were worth">
        <Kpis report={report} begins={begins} ends={ends} />
      </Section>
      <Section title="Predicted and happened">
        <DataTable label="Predicted and happened by slice" columns={slices} rows={[...(report.whole ? [report.whole] : []), ...(report.slices ?? [])]} rowKey={(one) => `${one.column}=${one.value}`} />
        <Text size="sm" c="dimmed">
          at acceptance: {(report.reference_rows ?? 0).toLocaleString('en')} rows, base rate {number(report.reference_base_rate)}, AUC {number(report.reference_auc)}, Brier {number(report.reference_brier)}
        </Text>
      </Section>
      <Section title="Inputs">
        <DataTable label="Inputs against training" columns={inputs} rows={[...(report.columns ?? [])]} rowKey={(one) => one.name || '(scores)'} />
        <Text size="sm" c="dimmed">
          Inputs move with every season: that informs, and is no alarm by itself.
        </Text>
      </Section>
    </>
  );
}
