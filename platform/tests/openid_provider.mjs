// An OpenID provider for tests: node openid_provider.mjs FOLDER PORT KEY_NAME. Two machine clients, two resources.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { generateKeyPairSync } from 'node:crypto';

const [folder, port, keyName] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(createRequire(`${folder}/x.js`).resolve('oidc-provider')));
const issuer = `http://127.0.0.1:${port}`;
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const roles = { ana: ['developer', 'something-else'], ben: ['approver'] };
const client = (name) => ({
  client_id: name,
  client_secret: `${name}-secret`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});
const seconds = { 'urn:mainspring': 600, 'urn:brief': 1, 'urn:other': 600 };

const provider = new Provider(issuer, {
  clients: [client('ana'), client('ben')],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: keyName, use: 'sig', alg: 'RS256' }] },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
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
  extraTokenClaims: (_ctx, token) => ({ roles: roles[token.clientId] }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
