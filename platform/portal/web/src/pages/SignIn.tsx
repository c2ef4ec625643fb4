import { Alert, Button, Card, Center, Code, PasswordInput, Stack, Text, Title } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { type FormEvent, useEffect, useRef, useState } from 'react';
import { useLocation } from 'wouter';
import { api, unwrap } from '../api/client';
import { type PortalConfig, useConfig } from '../api/config';
import { Problem, Shown } from '../components/states';
import { reason, signIn } from '../session';

/** A development token, or the OpenID provider; whichever the control API takes. */
export function SignIn() {
  const config = useConfig();
  const [path] = useLocation();
  useEffect(() => {
    document.title = 'Sign in · Mainspring';
  }, []);
  return (
    <Center component="main" mih="100vh" p="md">
      <Card withBorder padding="lg" w="100%" maw={440}>
        <Stack>
          <Title order={1} size="h2">
            Mainspring
          </Title>
          {reason() && (
            <Alert color="orange" variant="light" title="You were signed out" role="status">
              {reason()}
            </Alert>
          )}
          <Shown of={config} rows={2}>
            {(found) => (
              <>
                {found.issuer && found.client_id && (path === '/callback' ? <Return config={found} /> : <Provider config={found} />)}
                {found.issuer && !found.client_id && (
                  <Text size="sm">
                    An OpenID provider is set, but no client for this page: set <Code>identity.portal_client_id</Code>.
                  </Text>
                )}
                {found.embedded && <Token />}
              </>
            )}
          </Shown>
        </Stack>
      </Card>
    </Center>
  );
}

function Provider({ config }: { config: PortalConfig }) {
  const [path] = useLocation();
  const leave = useMutation({
    mutationFn: async () => (await import('../oidc')).begin(config, path + location.search),
  });
  return (
    <Stack gap="xs">
      <Button onClick={() => leave.mutate()} loading={leave.isPending || leave.isSuccess}>
        Sign in at {new URL(config.issuer).host}
      </Button>
      {leave.isError && <Problem error={leave.error} />}
    </Stack>
  );
}

function Return({ config }: { config: PortalConfig }) {
  const [, go] = useLocation();
  const begun = useRef(false);
  const back = useMutation({
    mutationFn: async () => (await import('../oidc')).finish(config),
    onSuccess: ({ token, path }) => {
      go(path === '/callback' ? '/' : path, { replace: true });
      signIn(token);
    },
  });
  const { mutate } = back;
  useEffect(() => {
    // A code counts once; React's strict mode runs effects twice.
    if (begun.current) return;
    begun.current = true;
    mutate();
  }, [mutate]);
  if (!back.isError) return <Text role="status">Signing in …</Text>;
  return <Problem error={back.error} retry={() => go('/', { replace: true })} />;
}

function Token() {
  const [typed, setTyped] = useState('');
  const enter = useMutation({
    mutationFn: async (token: string) => {
      await unwrap(api.GET('/api/v1/me', { headers: { Authorization: `Bearer ${token}` } }));
      return token;
    },
    onSuccess: signIn,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (typed.trim()) enter.mutate(typed.trim());
  };
  return (
    <form onSubmit={submit}>
      <Stack gap="sm">
        <PasswordInput
          label="Development token"
          description="Of tokens.json in the state directory. For one machine; an OpenID provider replaces it."
          value={typed}
          onChange={(event) => setTyped(event.currentTarget.value)}
          autoComplete="off"
          visibilityToggleButtonProps={{ 'aria-label': 'Show the token', tabIndex: 0 }}
        />
        <Button type="submit" variant="filled" loading={enter.isPending} disabled={!typed.trim()}>
          Sign in
        </Button>
        {enter.isError && <Problem error={enter.error} />}
        <Text size="sm" c="dimmed">
          <Code>mainspring portal</Code> prints this page&apos;s address and where the tokens are.
        </Text>
      </Stack>
    </form>
  );
}
