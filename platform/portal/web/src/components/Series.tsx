import 'uplot/dist/uPlot.min.css';
import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';

interface Props {
  /** What is drawn, with its unit: read out in the place of the picture. */
  label: string;
  /** Unix seconds, ascending. */
  times: number[];
  values: number[];
  unit: string;
}

/** One line over time. */
export default function Series({ label, times, values, unit }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const ink = scheme === 'dark' ? '#d0d0d0' : '#343a40';
    const grid = { stroke: scheme === 'dark' ? '#444' : '#dee2e6', width: 1 };
    const chart = new uPlot(
      {
        width: element.clientWidth,
        height: 220,
        series: [{}, { label: unit, stroke: scheme === 'dark' ? '#a5b8ff' : '#364fc7', width: 2, fill: '#364fc722' }],
        axes: [
          { stroke: ink, grid },
          { stroke: ink, grid, size: 70 },
        ],
        legend: { show: false },
      },
      [times, values],
      element,
    );
    const fit = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: 220 }));
    fit.observe(element);
    return () => {
      fit.disconnect();
      chart.destroy();
    };
  }, [times, values, unit, scheme]);
  return <div className="ms-chart" role="img" aria-label={label} ref={place} />;
}
