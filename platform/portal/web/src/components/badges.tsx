import { Badge } from '@mantine/core';
import { plain } from '../api/words';

const stages: Record<string, string> = {
  done: 'green',
  approval: 'orange',
  failed: 'red',
  rejected: 'red',
  rolled_back: 'red',
  cancelled: 'gray',
  pending: 'gray',
  open: 'orange',
  active: 'green',
};

export function StageBadge({ stage }: { stage: string }) {
  return (
    <Badge variant="light" color={stages[stage] ?? 'indigo'} tt="none" radius="sm" className="ms-badge">
      {stage === 'approval' ? 'waits for approval' : plain(stage)}
    </Badge>
  );
}

/** prod is orange everywhere; all of these are above 4.5 : 1. */
export function environmentColor(environment: string): { band: string; text: string; badge: string } {
  if (/^prod/.test(environment)) return { band: '#ffa94d', text: '#1a1a1a', badge: 'orange' };
  if (/^(stag|test|qa)/.test(environment)) return { band: '#ffe066', text: '#1a1a1a', badge: 'yellow' };
  return { band: '#d0ebff', text: '#1a1a1a', badge: 'blue' };
}

export function EnvironmentBadge({ environment }: { environment: string }) {
  return (
    <Badge variant="light" color={environmentColor(environment).badge} tt="none" radius="sm" className="ms-badge">
      {environment}
    </Badge>
  );
}

export function FreshBadge({ isFresh }: { isFresh: boolean | null | undefined }) {
  if (isFresh === null || isFresh === undefined) return <>–</>;
  return (
    <Badge variant="light" color={isFresh ? 'green' : 'orange'} tt="none" radius="sm" className="ms-badge">
      {isFresh ? 'fresh' : 'stale'}
    </Badge>
  );
}
