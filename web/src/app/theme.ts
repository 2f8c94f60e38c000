/** Millrace's look: mill-race green, grain amber, slab headings on paper or on deep river stone. */
import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from '@mantine/core';

const race: MantineColorsTuple = [
  '#e4f5f2',
  '#c9e9e4',
  '#9cd7ce',
  '#6cc4b7',
  '#43b2a3',
  '#23a494',
  '#129385',
  '#0b7d71',
  '#06665c',
  '#024e47',
];

const grain: MantineColorsTuple = [
  '#fff5e2',
  '#fce9c6',
  '#f7d28f',
  '#f2b955',
  '#eca42a',
  '#e39410',
  '#cf8307',
  '#b06d02',
  '#8f5803',
  '#6e4404',
];

const stone: MantineColorsTuple = [
  '#f7f5ef',
  '#efece3',
  '#e2ddd0',
  '#d0cabb',
  '#b3ad9f',
  '#938e82',
  '#6f6c63',
  '#55534c',
  '#3a3a35',
  '#232521',
];

const river: MantineColorsTuple = [
  '#e7ede9',
  '#c3cfc9',
  '#9dada6',
  '#74857e',
  '#43534d',
  '#2c3a35',
  '#1e2925',
  '#16201c',
  '#0e1513',
  '#090e0c',
];

export const theme = createTheme({
  primaryColor: 'race',
  primaryShade: 7,
  autoContrast: true,
  luminanceThreshold: 0.25,
  colors: { race, grain, gray: stone, dark: river },
  black: '#1b2320',
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontFamily:
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif",
  fontFamilyMonospace: "ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'Liberation Mono', monospace",
  headings: {
    fontFamily: "'Roboto Slab Variable', 'Rockwell', Georgia, serif",
    fontWeight: '600',
    sizes: { h1: { fontSize: '1.75rem' }, h2: { fontSize: '1.3rem' }, h3: { fontSize: '1.1rem' } },
  },
  components: {
    Tooltip: { defaultProps: { openDelay: 400, withArrow: true } },
    Modal: { defaultProps: { radius: 'lg', overlayProps: { blur: 3, backgroundOpacity: 0.45 } } },
  },
});

export const cssVariablesResolver: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-body': '#f6f4ee',
    '--mantine-color-dimmed': '#5a6560',
    '--mr-surface': '#fffefa',
    '--mr-sunken': '#ece8dd',
    '--mr-line': '#dfd9ca',
    '--mr-accent': '#0b7d71',
    '--mr-accent-text': '#066057',
    '--mr-grain': '#a96500',
    '--mr-shadow': '0 1px 2px rgb(60 50 20 / 8%), 0 6px 20px rgb(60 50 20 / 8%)',
  },
  dark: {
    '--mantine-color-body': '#0e1513',
    '--mantine-color-dimmed': '#9dada6',
    '--mantine-color-race-light-color': '#74d3c5',
    '--mantine-color-grain-light-color': '#f4c16a',
    '--mantine-color-red-light-color': '#ff9c9c',
    '--mantine-color-blue-light-color': '#8cc8fb',
    '--mr-surface': '#16201c',
    '--mr-sunken': '#1b2622',
    '--mr-line': '#2a3832',
    '--mr-accent': '#35b5a4',
    '--mr-accent-text': '#6cd0c1',
    '--mr-grain': '#f2b955',
    '--mr-shadow': '0 1px 2px rgb(0 0 0 / 40%), 0 8px 24px rgb(0 0 0 / 30%)',
  },
});
