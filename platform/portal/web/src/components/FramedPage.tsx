import { useRef } from 'react';

/** A page of somebody else's: its scripts run at an origin of nobody's, where they see neither the session nor the API. */
export function FramedPage({ title, html }: { title: string; html: string }) {
  const isSent = useRef(false);
  return (
    <iframe
      className="ms-framed"
      title={title}
      src="/portal/frame"
      sandbox="allow-scripts"
      onLoad={(loaded) => {
        // Writing what was sent is a load, too.
        if (isSent.current) return;
        isSent.current = true;
        // It has no origin to name; nobody else can be in it, by `frame-src`.
        loaded.currentTarget.contentWindow?.postMessage(html, '*');
      }}
    />
  );
}
