import { Anchor, Code } from '@mantine/core';
import { useEffect, useState } from 'react';
import { Link } from 'wouter';

const steps: [number, Intl.RelativeTimeFormatUnit][] = [
  [60, 'second'],
  [3600, 'minute'],
  [86_400, 'hour'],
  [30 * 86_400, 'day'],
  [365 * 86_400, 'month'],
  [Number.POSITIVE_INFINITY, 'year'],
];
const words = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

export function relative(at: Date, now: Date): string {
  const seconds = (at.getTime() - now.getTime()) / 1000;
  let size = 1;
  for (const [limit, unit] of steps) {
    if (Math.abs(seconds) < limit) return words.format(Math.round(seconds / size), unit);
    size = limit;
  }
  return at.toISOString();
}

/** Relative, and absolute for whoever points at it; moves on by itself. */
export function When({ at }: { at: string | null | undefined }) {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), 15_000);
    return () => clearInterval(timer);
  }, []);
  if (!at) return <>–</>;
  const time = new Date(at);
  return (
    <time dateTime={at} title={time.toISOString()}>
      {relative(time, now)}
    </time>
  );
}

export function money(amount: number, currency = 'USD'): string {
  const digits = amount !== 0 && Math.abs(amount) < 1 ? 4 : 2;
  return `${amount.toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: digits })} ${currency}`;
}

const prefixes = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** A size in the largest unit of which it has one. */
export function bytes(count: number): string {
  const power = count ? Math.min(prefixes.length - 1, Math.floor(Math.log2(count) / 10)) : 0;
  return `${power ? (count / 1024 ** power).toPrecision(3) : count} ${prefixes[power]}`;
}

export function seconds(count: number): string {
  if (count < 90) return `${count < 10 ? count.toFixed(1) : Math.round(count)} s`;
  return count < 5400 ? `${Math.round(count / 60)} min` : `${(count / 3600).toFixed(1)} h`;
}

/** A JSON value of a report in one line. */
export function brief(value: unknown): string {
  if (typeof value === 'number') return Number.isInteger(value) ? value.toLocaleString('en') : value.toPrecision(4);
  if (typeof value === 'string') return value;
  return JSON.stringify(value);
}

export function RunLink({ id }: { id: string }) {
  return (
    <Anchor component={Link} href={`/runs/${id}`} className="ms-mono">
      {id}
    </Anchor>
  );
}

export function Digest({ value }: { value: string }) {
  return (
    <Code title={value} className="ms-break">
      {value.replace(/^sha256:/, '').slice(0, 12)}
    </Code>
  );
}
