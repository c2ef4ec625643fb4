import { useQuery } from '@tanstack/react-query';
import { ApiError } from './client';

/** What the portal must know before anybody is signed in: `GET /portal/config.json`. */
export interface PortalConfig {
  /** The OpenID provider; empty: there is none. */
  issuer: string;
  client_id: string;
  audience: string;
  scopes: string;
  /** Are development tokens of the embedded issuer taken. */
  embedded: boolean;
}

export function useConfig() {
  return useQuery({
    queryKey: ['config'],
    queryFn: async (): Promise<PortalConfig> => {
      const answer = await fetch('/portal/config.json').catch(() => undefined);
      if (answer?.ok) return (await answer.json()) as PortalConfig;
      throw new ApiError(
        answer?.status ?? 0,
        'unreachable',
        'the control API does not answer; `mainspring status` tells what runs, `mainspring up` starts it',
      );
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
}
