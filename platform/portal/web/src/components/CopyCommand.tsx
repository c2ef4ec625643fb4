import { Button, CopyButton } from '@mantine/core';

/** Puts the command that does the same on the clipboard; its text is the button's description, so that it is read out. */
export function CopyCommand({ command }: { command: string }) {
  return (
    <CopyButton value={command} timeout={1500}>
      {({ copied, copy }) => (
        <Button
          variant="default"
          size="xs"
          onClick={copy}
          title={command}
          aria-label={`Copy as CLI: ${command}`}
          data-command={command}
        >
          {copied ? 'Copied' : '$ Copy as CLI'}
        </Button>
      )}
    </CopyButton>
  );
}
