/** The control API, typed by its own OpenAPI document (`schema.d.ts` is generated at every build). */
import createClient from 'openapi-fetch';
import { signOut, token } from '../session';
import type { components, paths } from './schema';

export type Schemas = components['schemas'];

/** A refusal in the API's own words: problem details, with the error's code and what to do next in its message. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** What of the request is wrong, where it is one thing. */
    readonly field = '',
  ) {
    super(message);
  }
}

export const api = createClient<paths>({ baseUrl: '/' });

api.use({
  onRequest: ({ request }) => {
    if (token()) request.headers.set('Authorization', `Bearer ${token()}`);
    return request;
  },
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer. Throws ApiError; a token that is not taken any more ends the session, where one was given. */
export async function unwrap<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch {
    throw new ApiError(
      0,
      'unreachable',
      'the control API does not answer; `mainspring status` tells what runs, `mainspring up` starts it',
    );
  }
  if (answer.response.ok) return answer.data as T;
  const told = (answer.error ?? {}) as { code?: string; detail?: string; details?: { field?: string } };
  const error = new ApiError(
    answer.response.status,
    told.code ?? 'unknown',
    told.detail ?? `the control API answered ${answer.response.status} without saying why; its log has the cause`,
    told.details?.field,
  );
  if (error.status === 401 && token()) signOut(error.message);
  throw error;
}

export interface PageOf<T> {
  items: T[];
  next: string;
}

/** A page of a list: the API's document says only that items are objects, its reference which. */
export async function page<T>(asked: Promise<Answer<Schemas['Page']>>): Promise<PageOf<T>> {
  const found = await unwrap(asked);
  return { items: found.items as unknown as T[], next: found.next ?? '' };
}
