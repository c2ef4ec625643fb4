import { Text } from '@mantine/core';

/** Files that are opened one by one to read: the browser's own disclosure, with the keyboard and without a script. */
export function Preview({ files }: { files: readonly { path: string; bytes: number; text: string }[] }) {
  return (
    <div>
      {files.map((file) => (
        <details key={file.path} className="ms-file">
          <summary>
            <span className="ms-mono">{file.path}</span>{' '}
            <Text span size="sm" c="dimmed">
              {file.bytes.toLocaleString('en')} bytes
            </Text>
          </summary>
          <pre className="ms-source" tabIndex={0} aria-label={file.path}>
            {file.text}
          </pre>
        </details>
      ))}
    </div>
  );
}
