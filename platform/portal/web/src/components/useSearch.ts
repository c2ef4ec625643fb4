import { useSearchParams } from 'wouter';

/** One value of the address's query, and how to set it: what a page shows is in its address, so that a link shows the same. */
export function useSearch(name: string, fallback = ''): [string, (value: string) => void] {
  const [search, setSearch] = useSearchParams();
  const set = (value: string) =>
    setSearch(
      (found) => {
        const next = new URLSearchParams(found);
        if (value && value !== fallback) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: true },
    );
  return [search.get(name) ?? fallback, set];
}
