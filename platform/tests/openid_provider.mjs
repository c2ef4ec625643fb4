// An OpenID provider for tests: node openid_provider.mjs FOLDER PORT KEY_NAME [ORIGIN]. Two machine clients, two resources; with
// ORIGIN also the public clients of people, `portal` of the web pages there and `cli` of terminals, and a form that believes whatever
// name one gives.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { generateKeyPairSync } from 'node:crypto';

const [folder, port, keyName, origin] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(createRequire(`${folder}/x.js`).resolve('oidc-provider')));
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const roles = { ana: ['developer', 'something-else'], ben: ['approver'] };
// What a broker takes out of a SAML assertion: the persistent NameID as the account, the attribute of groups as a claim.
const brokered = { 'G-7f3a91': { Attributes: { memberOf: ['CN=ML Developers,OU=Teams,DC=example', 'CN=Everybody,DC=example'] } } };
const client = (name) => ({
  client_id: name,
  client_secret: `${name}-secret`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});
const portal = {
  client_id: 'portal',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code'],
  response_types: ['code'],
  redirect_uris: [`${origin}/portal/callback`],
};
const cli = {
  client_id: 'cli',
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
};
const seconds = { 'urn:mainspring': 600, 'urn:brief': 1, 'urn:other': 600 };

const provider = new Provider(issuer, {
  clients: [client('ana'), client('ben'), ...(origin ? [portal, cli] : [])],
  clientBasedCORS: (_ctx, asking, asked) => asked.clientId === 'portal' && asking === origin,
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: keyName, use: 'sig', alg: 'RS256' }] },
  features: {
    devInteractions: { enabled: Boolean(origin) },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: Boolean(origin) },
    revocation: { enabled: Boolean(origin) },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: '',
        audience: resource === 'urn:brief' ? 'urn:mainspring' : resource,
        accessTokenFormat: 'jwt',
        accessTokenTTL: seconds[resource],
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  extraTokenClaims: (_ctx, token) => {
    const name = token.accountId ?? token.clientId;
    return { roles: roles[name], groups: brokered[name]?.Attributes.memberOf };
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
