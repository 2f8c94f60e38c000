/** The bar at the player's foot: seek, play, volume, time, quality and speed, picture in picture, full screen. */
import { ActionIcon, Menu, Tooltip } from '@mantine/core';
import { useFullscreenDocument } from '@mantine/hooks';
import {
  IconCheck,
  IconMaximize,
  IconMinimize,
  IconPictureInPicture,
  IconPlayerPauseFilled,
  IconPlayerPlayFilled,
  IconRotate,
  IconSettings,
  IconVolume,
  IconVolume2,
  IconVolumeOff,
} from '@tabler/icons-react';
import type { CSSProperties, ReactNode, RefObject } from 'react';
import { clock } from '../lib/format';
import classes from './Player.module.css';
import type { PlayerAction } from './shortcuts';
import { SPEEDS } from './speeds';
import { AUTO, type HlsPlayback } from './useHls';
import type { MediaState } from './useMediaState';

interface ControlsProps {
  state: MediaState;
  /** Seconds. */
  duration: number;
  hls: HlsPlayback;
  act: (action: PlayerAction) => void;
  media: RefObject<HTMLVideoElement | null>;
  frame: RefObject<HTMLElement | null>;
}

export function Controls({ state, duration, hls, act, media }: ControlsProps) {
  const { fullscreen } = useFullscreenDocument();
  const share = (seconds: number) => (duration > 0 ? `${Math.min(100, (seconds / duration) * 100)}%` : '0%');
  const seekStyle = { '--played': share(state.time), '--buffered': share(state.buffered) } as CSSProperties;
  const volume = state.muted ? 0 : state.volume;
  const volumeStyle = { '--played': `${volume * 100}%`, '--buffered': '0%' } as CSSProperties;
  const VolumeIcon = volume === 0 ? IconVolumeOff : volume < 0.5 ? IconVolume2 : IconVolume;

  return (
    <div className={classes.controls}>
      <input
        className={classes.slider}
        style={seekStyle}
        type="range"
        min={0}
        max={duration || 1}
        step={0.1}
        value={Math.min(state.time, duration || 1)}
        disabled={duration === 0}
        aria-label="Seek"
        aria-valuetext={`${clock(state.time * 1000)} of ${clock(duration * 1000)}`}
        onChange={event => {
          if (media.current) media.current.currentTime = Number(event.currentTarget.value);
        }}
        onKeyDown={event => {
          // A step of the slider is a tenth of a second; by keyboard one wants to move as elsewhere in the player.
          const seconds = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5 }[event.key];
          if (seconds === undefined) return;
          event.preventDefault();
          act({ do: 'seekBy', seconds });
        }}
      />
      <div className={classes.buttons}>
        <ControlButton
          label={state.ended ? 'Watch again' : state.paused ? 'Play' : 'Pause'}
          keys="k"
          onClick={() => act({ do: 'toggle' })}
        >
          {state.ended ? <IconRotate /> : state.paused ? <IconPlayerPlayFilled /> : <IconPlayerPauseFilled />}
        </ControlButton>
        <div className={classes.volume}>
          <ControlButton label={state.muted ? 'Unmute' : 'Mute'} keys="m" onClick={() => act({ do: 'mute' })}>
            <VolumeIcon />
          </ControlButton>
          <input
            className={classes.slider}
            style={volumeStyle}
            type="range"
            min={0}
            max={1}
            step={0.05}
            value={volume}
            aria-label="Volume"
            aria-valuetext={`${Math.round(volume * 100)} percent`}
            onChange={event => {
              const element = media.current;
              if (!element) return;
              element.volume = Number(event.currentTarget.value);
              element.muted = element.volume === 0;
            }}
          />
        </div>
        <span className={classes.time}>
          {clock(state.time * 1000)} <span className={classes.total}>/ {clock(duration * 1000)}</span>
        </span>
        <span className={classes.space} />
        <SettingsMenu state={state} hls={hls} media={media} />
        {document.pictureInPictureEnabled && (
          <ControlButton
            label="Picture in picture"
            className={classes.pip}
            onClick={() => togglePicture(media.current)}
          >
            <IconPictureInPicture />
          </ControlButton>
        )}
        <ControlButton
          label={fullscreen ? 'Leave full screen' : 'Full screen'}
          keys="f"
          onClick={() => act({ do: 'fullscreen' })}
        >
          {fullscreen ? <IconMinimize /> : <IconMaximize />}
        </ControlButton>
      </div>
    </div>
  );
}

interface ControlButtonProps {
  label: string;
  keys?: string;
  className?: string;
  onClick: () => void;
  children: ReactNode;
}

function ControlButton({ label, keys, className, onClick, children }: ControlButtonProps) {
  return (
    <Tooltip label={keys ? `${label} (${keys})` : label} withinPortal={false}>
      <ActionIcon
        className={`${classes.button} ${className ?? ''}`}
        variant="transparent"
        size={40}
        aria-label={label}
        aria-keyshortcuts={keys}
        onClick={onClick}
      >
        {children}
      </ActionIcon>
    </Tooltip>
  );
}

function SettingsMenu({ state, hls, media }: Pick<ControlsProps, 'state' | 'hls' | 'media'>) {
  const best = [...hls.qualities].sort((a, b) => b.bitrateKbps - a.bitrateKbps);
  const auto = hls.chosen === AUTO && hls.shown ? `Auto (${hls.shown.name})` : 'Auto';
  // In full screen only what lies inside the frame is seen, hence no portal.
  return (
    <Menu position="top-end" withinPortal={false} width={190} closeOnItemClick shadow="md">
      <Menu.Target>
        <ActionIcon className={classes.button} variant="transparent" size={40} aria-label="Quality and speed">
          <IconSettings />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown className={classes.menu}>
        <Menu.Label>Quality</Menu.Label>
        <Choice chosen={hls.chosen === AUTO} onChoose={() => hls.choose(AUTO)}>
          {auto}
        </Choice>
        {best.map(quality => (
          <Choice key={quality.index} chosen={hls.chosen === quality.index} onChoose={() => hls.choose(quality.index)}>
            {quality.name}
          </Choice>
        ))}
        <Menu.Divider />
        <Menu.Label>Speed</Menu.Label>
        {SPEEDS.filter(speed => speed >= 0.5).map(speed => (
          <Choice
            key={speed}
            chosen={state.speed === speed}
            onChoose={() => {
              if (media.current) media.current.playbackRate = speed;
            }}
          >
            {speed === 1 ? 'Normal' : `${speed} ×`}
          </Choice>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

function Choice({ chosen, onChoose, children }: { chosen: boolean; onChoose: () => void; children: ReactNode }) {
  return (
    <Menu.Item
      role="menuitemradio"
      aria-checked={chosen}
      onClick={onChoose}
      rightSection={chosen ? <IconCheck size={15} aria-hidden /> : null}
    >
      {children}
    </Menu.Item>
  );
}

function togglePicture(media: HTMLVideoElement | null): void {
  const change = document.pictureInPictureElement ? document.exitPictureInPicture() : media?.requestPictureInPicture();
  change?.catch(() => undefined);
}
