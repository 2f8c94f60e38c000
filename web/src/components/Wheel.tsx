import classes from './Wheel.module.css';

const SPOKES_AND_PADDLES =
  'M19.60 16.00L30.00 16.00M30.00 14.00L30.00 18.00M18.55 18.55L25.90 25.90M27.31 24.49L24.49 27.31M16.00 19.60L16.00 30.00M18.00 30.00L14.00 30.00M13.45 18.55L6.10 25.90M7.51 27.31L4.69 24.49M12.40 16.00L2.00 16.00M2.00 18.00L2.00 14.00M13.45 13.45L6.10 6.10M4.69 7.51L7.51 4.69M16.00 12.40L16.00 2.00M14.00 2.00L18.00 2.00M18.55 13.45L25.90 6.10M24.49 4.69L27.31 7.51';

interface WheelProps {
  size: number;
  /** Turns while something is under way. */
  turning?: boolean;
}

/** The mark of Millrace: a mill wheel. */
export function Wheel({ size, turning = false }: WheelProps) {
  return (
    <svg
      className={classes.wheel}
      data-turning={turning || undefined}
      width={size}
      height={size}
      viewBox="0 0 32 32"
      fill="none"
      stroke="var(--mr-accent)"
      strokeLinecap="round"
      aria-hidden="true"
    >
      <circle cx="16" cy="16" r="9.6" strokeWidth="2.4" />
      <path strokeWidth="2.2" d={SPOKES_AND_PADDLES} />
      <circle cx="16" cy="16" r="3.4" fill="var(--mantine-color-grain-5)" stroke="none" />
    </svg>
  );
}
