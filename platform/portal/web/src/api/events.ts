/** What goes on record, as it happens: `/v1/events`. An EventSource cannot send a bearer token, so the stream is read here. */
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { token } from '../session';

/** `live`: the API tells by itself. `asking`: it does not now, and the page asks again and again; so does one that is `opening`. */
export type Liveness = 'opening' | 'live' | 'asking';

type Watched = { run: string } | { endpoint: string };
type Tell = (name: string, data: unknown) => void;

const BEAT_SECONDS = 15;
/** A stream that was silent for longer has lost its server. */
const SILENT_MS = 2.5 * BEAT_SECONDS * 1000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;

/** Hears of a run or an endpoint while the page is open; a stream that breaks is begun anew where it was. */
export function useEvents(watched: Watched, isWanted: boolean, tell: Tell): Liveness {
  const [liveness, setLiveness] = useState<Liveness>('opening');
  const told = useRef(tell);
  useEffect(() => {
    told.current = tell;
  });
  const query = new URLSearchParams(watched).toString();
  useEffect(() => {
    if (!isWanted) return;
    const ended = new AbortController();
    void listen(query, (name, data) => told.current(name, data), setLiveness, ended.signal);
    return () => {
      ended.abort();
      setLiveness('opening');
    };
  }, [query, isWanted]);
  return liveness;
}

/** Asks anew what was asked before, by the beginnings of its keys. */
export function useRefresh(keys: readonly (readonly string[])[]): () => void {
  const queries = useQueryClient();
  return () => {
    for (const queryKey of keys) void queries.invalidateQueries({ queryKey });
  };
}

async function listen(query: string, tell: Tell, say: (now: Liveness) => void, ended: AbortSignal): Promise<void> {
  const reader = new Reader(tell);
  let wait = FIRST_WAIT_MS;
  while (!ended.aborted) {
    const heard = await follow(query, reader, () => say('live'), ended).catch(() => false);
    if (ended.aborted) return;
    say('asking');
    wait = heard ? FIRST_WAIT_MS : Math.min(2 * wait, LONGEST_WAIT_MS);
    await new Promise((done) => setTimeout(done, wait));
  }
}

/** Reads one stream to its end; whether anything was heard. Throws what `fetch` throws. */
async function follow(query: string, reader: Reader, opened: () => void, ended: AbortSignal): Promise<boolean> {
  reader.begin();
  const broken = new AbortController();
  const stop = () => broken.abort();
  ended.addEventListener('abort', stop);
  let silence = setTimeout(stop, SILENT_MS);
  let heard = false;
  try {
    const headers: Record<string, string> = { Authorization: `Bearer ${token()}` };
    if (reader.lastId) headers['Last-Event-ID'] = reader.lastId;
    const answer = await fetch(`/v1/events?${query}&heartbeat_seconds=${BEAT_SECONDS}`, { headers, signal: broken.signal });
    // A refusal is told by what the page asks otherwise.
    if (!answer.ok || !answer.body) return false;
    opened();
    const text = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await text.read();
      if (done) return heard;
      heard = true;
      clearTimeout(silence);
      silence = setTimeout(stop, SILENT_MS);
      if (!reader.take(value)) return false;
    }
  } finally {
    clearTimeout(silence);
    ended.removeEventListener('abort', stop);
    stop();
  }
}

/** Of all connections, one after the other: pieces of text in, events out. */
class Reader {
  lastId = '';
  private rest = '';
  private name = '';
  private data = '';
  private id = '';

  constructor(private readonly tell: Tell) {}

  /** A new connection: half of an event is told again. */
  begin(): void {
    this.rest = this.name = this.data = '';
    this.id = this.lastId;
  }

  /** False where the API ended the stream with an error. */
  take(piece: string): boolean {
    const lines = (this.rest + piece).split('\n');
    this.rest = lines.pop() ?? '';
    return lines.every((line) => this.line(line));
  }

  private line(line: string): boolean {
    if (line) {
      const [field, value] = [line.slice(0, line.indexOf(': ')), line.slice(line.indexOf(': ') + 2)];
      if (field === 'id') this.id = value;
      if (field === 'event') this.name = value;
      if (field === 'data') this.data += value;
      return true;
    }
    // An event counts with its empty line, and so does its id.
    const { name, data } = this;
    this.lastId = this.id;
    this.name = this.data = '';
    if (name === 'error') return false;
    if (name) this.tell(name, JSON.parse(data));
    return true;
  }
}
