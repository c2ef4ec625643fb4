import { lazy, Suspense } from 'react';
import { Route, Switch } from 'wouter';
import { Layout } from './components/Layout';
import { Page } from './components/Page';
import { Empty, Loading } from './components/states';
import { Home } from './pages/Home';
import { SignIn } from './pages/SignIn';
import { useToken } from './session';

// Each page comes when it is first opened; home comes with the shell.
const NewProject = lazy(() => import('./pages/NewProject'));
const Runs = lazy(() => import('./pages/Runs'));
const NewRun = lazy(() => import('./pages/NewRun'));
const RunPage = lazy(() => import('./pages/Run'));
const Approvals = lazy(() => import('./pages/Approvals'));
const Models = lazy(() => import('./pages/Models'));
const Model = lazy(() => import('./pages/Model'));
const Endpoints = lazy(() => import('./pages/Endpoints'));
const EndpointPage = lazy(() => import('./pages/Endpoint'));
const Monitoring = lazy(() => import('./pages/Monitoring'));
const Report = lazy(() => import('./pages/Report'));
const Playground = lazy(() => import('./pages/Playground'));
const Costs = lazy(() => import('./pages/Costs'));
const Features = lazy(() => import('./pages/Features'));
const Feature = lazy(() => import('./pages/Feature'));
const Access = lazy(() => import('./pages/Access'));
const Audit = lazy(() => import('./pages/Audit'));

/** Whoever is not signed in gets the sign-in page at every address, and then the page that was asked for. */
export function App() {
  const token = useToken();
  if (!token) return <SignIn />;
  return (
    <Layout>
      <Suspense fallback={<Loading rows={6} />}>
        <Switch>
          <Route path="/" component={Home} />
          <Route path="/projects/new" component={NewProject} />
          <Route path="/approvals" component={Approvals} />
          <Route path="/runs" component={Runs} />
          <Route path="/runs/new" component={NewRun} />
          <Route path="/runs/:id">{({ id }) => <RunPage id={id} />}</Route>
          <Route path="/models" component={Models} />
          <Route path="/models/:project/:digest">
            {({ project, digest }) => <Model project={project} digest={decodeURIComponent(digest)} />}
          </Route>
          <Route path="/endpoints" component={Endpoints} />
          <Route path="/endpoints/:name">{({ name }) => <EndpointPage name={name} />}</Route>
          <Route path="/playground" component={Playground} />
          <Route path="/monitoring" component={Monitoring} />
          <Route path="/monitoring/:id">{({ id }) => <Report id={id} />}</Route>
          <Route path="/features" component={Features} />
          <Route path="/features/:project/:name">
            {({ project, name }) => <Feature project={project} name={decodeURIComponent(name)} />}
          </Route>
          <Route path="/costs" component={Costs} />
          <Route path="/access" component={Access} />
          <Route path="/audit" component={Audit} />
          <Route>
            <Page title="No such page" command="mainspring --help">
              <Empty>There is nothing at this address. The pages there are stand at the left.</Empty>
            </Page>
          </Route>
        </Switch>
      </Suspense>
    </Layout>
  );
}
