import { Button, type ButtonProps, Group, Text } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';

interface Props extends Pick<ButtonProps, 'color' | 'disabled' | 'loading' | 'size' | 'variant'> {
  label: string;
  /** What will happen, as a question. */
  question: string;
  onConfirm: () => void;
}

/** A button that asks once more, in its place: what it does moves traffic. */
export function Confirm({ label, question, onConfirm, loading, disabled, ...look }: Props) {
  const [asks, setAsks] = useState(false);
  const yes = useRef<HTMLButtonElement>(null);
  const first = useRef<HTMLButtonElement>(null);
  const wasAsked = useRef(false);
  // The keyboard stays where the question is, and goes back to where it came from.
  useEffect(() => {
    if (asks) yes.current?.focus();
    else if (wasAsked.current) first.current?.focus();
    wasAsked.current = asks;
  }, [asks]);
  if (!asks) {
    return (
      <Button ref={first} {...look} loading={loading} disabled={disabled} onClick={() => setAsks(true)}>
        {label}
      </Button>
    );
  }
  return (
    <Group
      gap="xs"
      role="group"
      aria-label={question}
      onKeyDown={(event) => {
        if (event.key === 'Escape') setAsks(false);
      }}
    >
      <Text size="sm">{question}</Text>
      <Button
        ref={yes}
        {...look}
        onClick={() => {
          setAsks(false);
          onConfirm();
        }}
      >
        Yes: {label}
      </Button>
      <Button {...look} variant="default" onClick={() => setAsks(false)}>
        No
      </Button>
    </Group>
  );
}
