/** A video's two plots; each can be read as a table as well. */
import { BarChart, LineChart } from '@mantine/charts';
import { Button, Collapse, Group, SegmentedControl, Table, Text, Title } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import type { ReactNode } from 'react';
import type { HourFigures, VideoStats } from '../api/types';
import { clock, number } from '../lib/format';
import { bars, percentTicks, retentionMarks, ticks } from './figures';
import classes from './Plots.module.css';

export const SPANS = [
  { hours: 24, perBar: 1, label: '24 h' },
  { hours: 168, perBar: 3, label: '7 days' },
  { hours: 720, perBar: 12, label: '30 days' },
] as const;

const hourFormat = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hour12: false });
const dayFormat = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short' });
const fullFormat = new Intl.DateTimeFormat('en', {
  weekday: 'short',
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
  hour12: false,
});

interface ViewsPlotProps {
  hours: HourFigures[];
  span: number;
  onSpan: (hours: number) => void;
}

export function ViewsPlot({ hours, span, onSpan }: ViewsPlotProps) {
  const scale = SPANS.find(known => known.hours === span) ?? SPANS[1];
  const data = bars(hours, scale.hours, scale.perBar, Date.now());
  const total = data.reduce((sum, bar) => sum + bar.views, 0);
  const label = (at: number) => (scale.hours <= 24 ? hourFormat : dayFormat).format(at);
  return (
    <Figure
      title="Views"
      caption={`${number(total)} ${total === 1 ? 'view' : 'views'} in the last ${scale.label}, ${scale.perBar === 1 ? 'by hour' : `a bar for every ${scale.perBar} hours`}`}
      control={
        <SegmentedControl
          size="xs"
          aria-label="Time shown"
          value={String(scale.hours)}
          onChange={value => onSpan(Number(value))}
          data={SPANS.map(option => ({ value: String(option.hours), label: option.label }))}
        />
      }
      table={
        <FiguresTable
          head={['From', 'Views', 'Starts']}
          rows={data
            .filter(bar => bar.starts > 0 || bar.views > 0)
            .map(bar => [fullFormat.format(bar.at), bar.views, bar.starts])}
        />
      }
    >
      <BarChart
        h={240}
        data={data}
        dataKey="at"
        series={[{ name: 'views', label: 'Views', color: 'var(--mr-accent)' }]}
        tickLine="none"
        barProps={{ radius: [3, 3, 0, 0], isAnimationActive: false }}
        xAxisProps={{
          tickFormatter: label,
          ticks: ticks(data, scale.hours),
          minTickGap: 30,
          interval: 'preserveStart',
        }}
        yAxisProps={{ allowDecimals: false, width: 44 }}
        tooltipProps={{ labelFormatter: at => labelled(at, time => fullFormat.format(time)) }}
      />
    </Figure>
  );
}

export function RetentionPlot({ retention }: { retention: NonNullable<VideoStats['retention']> }) {
  const data = retentionMarks(retention);
  const lines = percentTicks(data);
  return (
    <Figure
      title="Retention"
      caption="For each hundredth of the video: how much of it was watched per view, rewatching included, and which share of the viewers saw it"
      table={
        <FiguresTable
          head={['At', 'Watched per view', 'Viewers']}
          rows={data.map(mark => [clock(mark.at), `${mark.watched} %`, `${mark.viewers} %`])}
        />
      }
    >
      <LineChart
        h={260}
        data={data}
        dataKey="at"
        series={[
          { name: 'watched', label: 'Watched per view', color: 'var(--mr-accent)' },
          { name: 'viewers', label: 'Viewers who saw it', color: 'grain.5', strokeDasharray: '6 4' },
        ]}
        curveType="monotone"
        withDots={false}
        withLegend
        legendProps={{ verticalAlign: 'bottom' }}
        tickLine="none"
        unit="%"
        lineProps={{ isAnimationActive: false }}
        xAxisProps={{
          type: 'number',
          domain: [0, retention.duration_ms],
          tickFormatter: clock,
          tickCount: 6,
          minTickGap: 30,
        }}
        yAxisProps={{ domain: [0, lines.at(-1) ?? 100], ticks: lines, interval: 0, width: 52 }}
        tooltipProps={{ labelFormatter: at => labelled(at, clock) }}
      />
    </Figure>
  );
}

/** A tooltip that is not over anything is drawn as well, with no value. */
function labelled(at: unknown, format: (at: number) => string): string {
  return typeof at === 'number' ? format(at) : '';
}

interface FigureProps {
  title: string;
  caption: string;
  control?: ReactNode;
  table: ReactNode;
  children: ReactNode;
}

function Figure({ title, caption, control, table, children }: FigureProps) {
  const [tableShown, { toggle }] = useDisclosure(false);
  return (
    <figure className={classes.figure} aria-label={title}>
      <Group justify="space-between" gap="sm">
        <Title order={2}>{title}</Title>
        {control}
      </Group>
      <figcaption className={classes.caption}>{caption}</figcaption>
      <div className={classes.plot} aria-hidden>
        {children}
      </div>
      <Button size="compact-sm" variant="subtle" mt="xs" onClick={toggle} aria-expanded={tableShown}>
        {tableShown ? 'Hide the table' : 'Show as a table'}
      </Button>
      <Collapse expanded={tableShown}>{tableShown && table}</Collapse>
    </figure>
  );
}

function FiguresTable({ head, rows }: { head: string[]; rows: (string | number)[][] }) {
  if (rows.length === 0) return <Text c="dimmed">Nothing yet.</Text>;
  return (
    <Table.ScrollContainer minWidth={260} mah={320}>
      <Table striped stickyHeader>
        <Table.Thead>
          <Table.Tr>
            {head.map(name => (
              <Table.Th key={name}>{name}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map(([first, ...others]) => (
            <Table.Tr key={first}>
              <Table.Th scope="row" fw={400}>
                {first}
              </Table.Th>
              {others.map((value, n) => (
                <Table.Td key={head[n + 1]}>{value}</Table.Td>
              ))}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}
