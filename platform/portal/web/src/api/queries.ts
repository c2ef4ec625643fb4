/** What pages ask the API, by the key that each answer is kept under. */
import { keepPreviousData, useInfiniteQuery, useQuery } from '@tanstack/react-query';
import { ApiError, api, page, unwrap } from './client';
import type { ApiDocument } from './runForm';
import { type AccessRequest, type AlertRow, type Approval, type AuditRow, type Budget, type CatalogEntry, type Cost, type Endpoint, hasEnded, type ModelVersion, type Project, type ReportRow, type Run, type Template, type TrafficChange } from './words';

/** How often something that moves is looked at again. */
export const LIVE_MS = 2_000;
const CALM_MS = 15_000;
export const ENDPOINT_MS = 4_000;

export function useMe() {
  return useQuery({ queryKey: ['me'], queryFn: () => unwrap(api.GET('/api/v1/me')), staleTime: 60_000 });
}

export function useProjects() {
  return useQuery({
    queryKey: ['projects'],
    queryFn: () => page<Project>(api.GET('/api/v1/projects', { params: { query: { limit: 500 } } })),
    staleTime: CALM_MS,
  });
}

/** Templates of projects: of the release, so they stay. */
export function useTemplates() {
  return useQuery({
    queryKey: ['templates'],
    queryFn: () => page<Template>(api.GET('/api/v1/templates', { params: { query: { limit: 500 } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** Runs that have not ended, of all projects: what waits for somebody is among them. */
export function useOpenRuns() {
  return useQuery({
    queryKey: ['runs', 'open'],
    queryFn: () => page<Run>(api.GET('/api/v1/runs', { params: { query: { limit: 200, open: true } } })),
    refetchInterval: CALM_MS,
  });
}

export function useRuns(project: string) {
  return useInfiniteQuery({
    queryKey: ['runs', 'list', project],
    queryFn: ({ pageParam }) =>
      page<Run>(api.GET('/api/v1/runs', { params: { query: { project, before: pageParam, limit: 50 } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
    refetchInterval: (query) =>
      query.state.data?.pages.some((one) => one.items.some((run) => !hasEnded(run.stage))) ? LIVE_MS * 2 : CALM_MS,
  });
}

/** The API's own description: what it takes, of which this page makes forms. */
export function useDescription() {
  return useQuery({
    queryKey: ['description'],
    queryFn: async (): Promise<ApiDocument> => {
      const answer = await fetch('/schema/openapi.json').catch(() => undefined);
      if (answer?.ok) return (await answer.json()) as ApiDocument;
      throw new ApiError(
        answer?.status ?? 0,
        'unreachable',
        'the control API does not tell what it takes; `mainspring status` tells what runs, `mainspring up` starts it',
      );
    },
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** What runs of a project have cost, by kind. */
export function useUnitCosts(project: string) {
  return useQuery({
    queryKey: ['costs', 'units', project],
    enabled: project !== '',
    queryFn: () => unwrap(api.GET('/api/v1/costs:units', { params: { query: { project } } })),
  });
}

/** One run as it is now; who is told of it need not ask. */
export function useRun(id: string, isTold = false) {
  return useQuery({
    queryKey: ['runs', 'one', id],
    queryFn: () => unwrap(api.GET('/api/v1/runs/{run_id}', { params: { path: { run_id: id } } })),
    refetchInterval: (query) => (isTold || (query.state.data && hasEnded(query.state.data.stage)) ? false : LIVE_MS),
  });
}

export const canaryKey = (id: string) => ['runs', 'canary', id];

/** The canary that a run judges now. The workflow engine alone knows of it, so it is asked. */
export function useCanary(id: string, isOver: boolean) {
  return useQuery({
    queryKey: canaryKey(id),
    enabled: !isOver,
    queryFn: () => unwrap(api.GET('/api/v1/runs/{run_id}/canary', { params: { path: { run_id: id } } })),
    refetchInterval: LIVE_MS,
  });
}

export const LOG_LINES = 500;

/** Lines of a job of a run. Ray tells of no line by itself: what is being written is asked for again. */
export function useRunLog(id: string, job: string, start: number | undefined, isLive: boolean) {
  return useQuery({
    queryKey: ['run-log', id, job, start],
    queryFn: () =>
      unwrap(
        api.GET('/api/v1/runs/{run_id}/logs', {
          params: { path: { run_id: id }, query: { job, start: start ?? -1, limit: LOG_LINES } },
        }),
      ),
    placeholderData: keepPreviousData,
    refetchInterval: isLive ? LIVE_MS * 2 : false,
  });
}

/** A pipeline as it was sent: the same digest is always the same. */
export function usePipeline(project: string, digest: string) {
  return useQuery({
    queryKey: ['pipelines', project, digest],
    enabled: digest !== '',
    queryFn: () => unwrap(api.GET('/api/v1/projects/{project}/pipelines/{digest}', { params: { path: { project, digest } } })),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

/** What is on record of a run, oldest first. */
export function useRunEvents(id: string, isLive: boolean) {
  return useQuery({
    queryKey: ['runs', 'events', id],
    queryFn: () =>
      page<AuditRow>(api.GET('/api/v1/audit', { params: { query: { resource: `run/${id}`, limit: 500 } } })),
    refetchInterval: isLive ? LIVE_MS * 2 : false,
  });
}

/** Open requests for access, of every project that one may look into. */
export function useOpenAccess(projects: Project[] | undefined) {
  return useQuery({
    queryKey: ['access', 'open', projects?.map((one) => one.name)],
    enabled: projects !== undefined,
    queryFn: async () => {
      const pages = await Promise.all(
        (projects ?? []).map((one) =>
          page<AccessRequest>(
            api.GET('/api/v1/projects/{project}/access-requests', {
              params: { path: { project: one.name }, query: { state: 'open' } },
            }),
          ),
        ),
      );
      return pages.flatMap((found) => found.items);
    },
    refetchInterval: CALM_MS,
  });
}

export type AuditFilter = Record<'actor' | 'action' | 'resource' | 'outcome', string>;

/** The audit log, newest first. Filters are exact. */
export function useAudit(filter: AuditFilter) {
  return useInfiniteQuery({
    queryKey: ['audit', filter],
    queryFn: ({ pageParam }) =>
      page<AuditRow>(
        api.GET('/api/v1/audit', { params: { query: { ...filter, newest: true, after: pageParam, limit: 100 } } }),
      ),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
  });
}

export type CostGroup = 'project' | 'run' | 'service' | 'environment' | 'sku' | 'capacity';

export function useCosts(group: CostGroup, project: string, since: string) {
  return useQuery({
    queryKey: ['costs', group, project, since],
    queryFn: () => unwrap(api.GET('/api/v1/costs', { params: { query: { group_by: group, project, since } } })),
  });
}

const COST_PAGES = 5;

/** Priced records of a time, one by one, as far as a page of the portal can hold them. */
export function useCostRecords(project: string, since: string) {
  return useQuery({
    queryKey: ['costs', 'records', project, since],
    queryFn: async () => {
      const items: Cost[] = [];
      let after = '';
      for (let read = 0; read < COST_PAGES; read += 1) {
        const found = await page<Cost>(
          api.GET('/api/v1/costs:records', { params: { query: { project, since, after, limit: 1000 } } }),
        );
        items.push(...found.items);
        after = found.next;
        if (!after) break;
      }
      return { items, isCut: after !== '' };
    },
  });
}

/** A project's budgets by environment and period, which are few. */
export function useBudgets(project: string) {
  return useQuery({
    queryKey: ['budgets', project],
    queryFn: () => page<Budget>(api.GET('/api/v1/projects/{project}/budgets', { params: { path: { project } } })),
  });
}

/** What a project keeps on disks, as measured last. */
export function useStorage(project: string) {
  return useQuery({
    queryKey: ['storage', project],
    queryFn: () => unwrap(api.GET('/api/v1/projects/{project}/storage', { params: { path: { project } } })),
  });
}

export function useServingUsage(group: 'project' | 'endpoint' | 'model_version' | 'caller', project: string) {
  return useQuery({
    queryKey: ['serving-usage', group, project],
    queryFn: () => unwrap(api.GET('/api/v1/serving-usage', { params: { query: { group_by: group, project } } })),
  });
}

export function useCatalog(filter: { search: string; project: string; kind: string; classification: string }) {
  return useInfiniteQuery({
    queryKey: ['catalog', filter],
    queryFn: ({ pageParam }) =>
      page<CatalogEntry>(api.GET('/api/v1/catalog', { params: { query: { ...filter, after: pageParam, limit: 100 } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
  });
}

export function useCatalogEntry(project: string, name: string) {
  return useQuery({
    queryKey: ['catalog', 'one', project, name],
    queryFn: () => unwrap(api.GET('/api/v1/catalog/{project}/{name}', { params: { path: { project, name } } })),
  });
}

export function useAccess(project: string) {
  return useInfiniteQuery({
    queryKey: ['access', 'list', project],
    enabled: project !== '',
    queryFn: ({ pageParam }) =>
      page<AccessRequest>(
        api.GET('/api/v1/projects/{project}/access-requests', {
          params: { path: { project }, query: { before: pageParam } },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
    refetchInterval: CALM_MS,
  });
}

export function useModels(project: string) {
  return useInfiniteQuery({
    queryKey: ['models', project],
    queryFn: ({ pageParam }) =>
      page<ModelVersion>(api.GET('/api/v1/models', { params: { query: { project, before: pageParam, limit: 100 } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
  });
}

export function useModel(project: string, digest: string) {
  return useQuery({
    queryKey: ['models', 'one', project, digest],
    queryFn: () => unwrap(api.GET('/api/v1/models/{project}/{digest}', { params: { path: { project, digest } } })),
  });
}

export function useEndpoints(project: string) {
  return useInfiniteQuery({
    queryKey: ['endpoints', project],
    queryFn: ({ pageParam }) =>
      page<Endpoint>(api.GET('/api/v1/endpoints', { params: { query: { project, after: pageParam, limit: 100 } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
  });
}

/** An endpoint as serving has it now. While a canary is judged it moves; who is told of that need not ask. */
export function useEndpoint(name: string, isTold = false) {
  return useQuery({
    queryKey: endpointKey(name),
    enabled: name !== '',
    queryFn: () => unwrap(api.GET('/api/v1/endpoints/{name}/live', { params: { path: { name } } })),
    refetchInterval: isTold ? false : ENDPOINT_MS,
  });
}

/** What answered at an endpoint, newest first; a deployment that ends brings more. */
export function useServed(name: string) {
  return useQuery({
    queryKey: ['runs', 'served', name],
    queryFn: () =>
      page<TrafficChange>(api.GET('/api/v1/endpoints/{name}/history', { params: { path: { name }, query: { limit: 20 } } })),
  });
}

/** What waits for a person's yes and is no run, of all projects. */
export function useApprovals() {
  return useQuery({
    queryKey: ['approvals'],
    queryFn: async () => {
      const found = await page<Approval>(api.GET('/api/v1/approvals', { params: { query: { state: 'open', limit: 200 } } }));
      return { ...found, items: found.items.filter((one) => one.kind !== 'run') };
    },
    refetchInterval: CALM_MS,
  });
}

export const endpointKey = (name: string) => ['endpoints', 'one', name];

const RUN_PAGES = 5;

/** The run that last brought another bundle than the present one to an endpoint, as far back as is worth looking. */
export function useBundleBefore(endpoint: Endpoint, present: string | undefined) {
  return useQuery({
    queryKey: ['runs', 'before', endpoint.name, present],
    enabled: present !== undefined,
    queryFn: async (): Promise<Run | null> => {
      let before = '';
      for (let read = 0; read < RUN_PAGES; read += 1) {
        const found = await page<Run>(
          api.GET('/api/v1/runs', { params: { query: { project: endpoint.project, before, limit: 200 } } }),
        );
        const run = found.items.find(
          (one) =>
            one.endpoint === endpoint.name &&
            one.stage === 'done' &&
            (one.kind === 'deploy' || one.kind === 'train') &&
            !!one.bundle_digest &&
            one.bundle_digest !== present,
        );
        if (run) return run;
        before = found.next;
        if (!before) break;
      }
      return null;
    },
  });
}

export function useAlerts(project: string, state: string) {
  return useQuery({
    queryKey: ['alerts', project, state],
    queryFn: () =>
      page<AlertRow>(
        api.GET('/api/v1/alerts', {
          params: { query: { project, state: state as 'open' | 'acknowledged' | 'resolved', limit: 200 } },
        }),
      ),
    refetchInterval: CALM_MS,
  });
}

export function useReports(project: string) {
  return useInfiniteQuery({
    queryKey: ['reports', project],
    queryFn: ({ pageParam }) =>
      page<ReportRow>(api.GET('/api/v1/monitoring/reports', { params: { query: { project, before: pageParam, limit: 50 } } })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next || undefined,
  });
}

export function useReport(id: string) {
  return useQuery({
    queryKey: ['reports', 'one', id],
    queryFn: () => unwrap(api.GET('/api/v1/monitoring/reports/{report_id}', { params: { path: { report_id: id } } })),
  });
}

/** Evidently's page of a report, once somebody asks for it: some megabytes. */
export function useReportPage(id: string, isAsked: boolean) {
  return useQuery({
    queryKey: ['reports', 'page', id],
    queryFn: () => unwrap(api.GET('/api/v1/monitoring/reports/{report_id}/page', { params: { path: { report_id: id } }, parseAs: 'text' })),
    enabled: isAsked,
    staleTime: Infinity,
    gcTime: 0,
  });
}

/** The newest report of an endpoint, with its contents; null where it was never checked. */
export function useNewestReport(project: string, endpoint: string) {
  return useQuery({
    queryKey: ['reports', 'newest', project, endpoint],
    queryFn: async () => {
      const { items } = await page<ReportRow>(api.GET('/api/v1/monitoring/reports', { params: { query: { project, endpoint, limit: 1 } } }));
      const [newest] = items;
      return newest ? unwrap(api.GET('/api/v1/monitoring/reports/{report_id}', { params: { path: { report_id: newest.report_id } } })) : null;
    },
    refetchInterval: CALM_MS,
  });
}
