// The authorization server of the check in oauth.py: `oidc-provider`, which we did not write, with one person in it.
//
//   node authorization_server.mjs PROVIDER_DIRECTORY RESOURCE
//
// Prints its issuer once it listens. It issues JWT access tokens for RESOURCE, registers any client, and has the
// forms for signing in and consenting that it brings for development.

import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [directory, resource] = process.argv.slice(2)
const scopes = ['tools:call', 'tools:list', 'agents:write', 'tenant:admin', 'cluster:admin']
// Only an absolute path can be required from.
const entry = createRequire(`${resolve(directory)}/`).resolve('oidc-provider')
const { default: Provider } = await import(pathToFileURL(entry))

// The issuer is known once the port is.
const server = createServer((request, response) => handler(request, response))
let handler
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const issuer = `http://127.0.0.1:${server.address().port}`
const provider = new Provider(issuer, {
  clientDefaults: { token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'RS256' },
  cookies: { keys: ['a key that signs nothing of value'] },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: scopes.join(' '),
        audience: resource,
        accessTokenTTL: 600,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  pkce: { required: () => true },
  // A client that registers may ask for scopes that are listed here only.
  scopes: ['openid', 'offline_access', ...scopes],
})
handler = provider.callback()
console.log(issuer)
