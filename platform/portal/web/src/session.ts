/** Who is signed in: a bearer token in this tab's sessionStorage, and nowhere else. */
import { useSyncExternalStore } from 'react';

const key = 'mainspring.token';
const listeners = new Set<() => void>();
let endedBecause = '';

export function token(): string {
  return sessionStorage.getItem(key) ?? '';
}

/** Why the last session ended, for the sign-in page; empty if nobody was signed in. */
export function reason(): string {
  return endedBecause;
}

export function signIn(found: string): void {
  endedBecause = '';
  sessionStorage.setItem(key, found);
  listeners.forEach((tell) => tell());
}

export function signOut(because = ''): void {
  endedBecause = because;
  sessionStorage.removeItem(key);
  listeners.forEach((tell) => tell());
}

export function useToken(): string {
  return useSyncExternalStore((tell) => {
    listeners.add(tell);
    return () => listeners.delete(tell);
  }, token);
}
