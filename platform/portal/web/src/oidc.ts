/** Sign-in at the configured OpenID provider: authorization code with PKCE, as a public client. Loaded when it is used. */
import * as oauth from 'oauth4webapi';
import type { PortalConfig } from './api/config';

const key = 'mainspring.sign-in';

interface Pending {
  verifier: string;
  state: string;
  /** Where one wanted to go. */
  path: string;
}

function callback(): string {
  return `${location.origin}/portal/callback`;
}

/** What fails on the way to the provider says only `Failed to fetch`. */
async function answered<T>(asked: Promise<T>, config: PortalConfig): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Error(
      `the OpenID provider does not answer, or does not let ${location.origin} ask it (CORS): ${config.issuer}`,
    );
  }
}

async function provider(config: PortalConfig): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(config.issuer);
  // The server took http for an issuer on its own machine alone, and says here what it took.
  const options = { [oauth.allowInsecureRequests]: issuer.protocol === 'http:' };
  return oauth.processDiscoveryResponse(issuer, await answered(oauth.discoveryRequest(issuer, options), config));
}

/** Leave for the provider. Comes back at /portal/callback. */
export async function begin(config: PortalConfig, path: string): Promise<void> {
  if (!crypto.subtle) throw new Error('this page came over plain http, where a browser gives no cryptography; open it over https');
  const server = await provider(config);
  if (!server.authorization_endpoint) throw new Error(`the provider ${config.issuer} has no authorization endpoint`);
  const pending: Pending = { verifier: oauth.generateRandomCodeVerifier(), state: oauth.generateRandomState(), path };
  sessionStorage.setItem(key, JSON.stringify(pending));
  const to = new URL(server.authorization_endpoint);
  const asked = {
    client_id: config.client_id,
    redirect_uri: callback(),
    response_type: 'code',
    scope: config.scopes,
    resource: config.audience,
    code_challenge: await oauth.calculatePKCECodeChallenge(pending.verifier),
    code_challenge_method: 'S256',
    state: pending.state,
  };
  for (const [name, value] of Object.entries(asked)) to.searchParams.set(name, value);
  location.assign(to);
}

/** The token for the code that the provider sent us back with, and where one wanted to go. */
export async function finish(config: PortalConfig): Promise<{ token: string; path: string }> {
  const kept = sessionStorage.getItem(key);
  sessionStorage.removeItem(key); // a code counts once, and so does what belongs to it
  if (!kept) throw new Error('this tab did not begin a sign-in; begin again');
  const pending = JSON.parse(kept) as Pending;
  const server = await provider(config);
  const client: oauth.Client = { client_id: config.client_id };
  const params = oauth.validateAuthResponse(server, client, new URL(location.href), pending.state);
  const options = {
    additionalParameters: { resource: config.audience },
    [oauth.allowInsecureRequests]: config.issuer.startsWith('http:'),
  };
  const answer = await answered(
    oauth.authorizationCodeGrantRequest(server, client, oauth.None(), params, callback(), pending.verifier, options),
    config,
  );
  const found = await oauth.processAuthorizationCodeResponse(server, client, answer);
  return { token: found.access_token, path: pending.path };
}
