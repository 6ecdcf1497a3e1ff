/** Temperature and battery of a device, as Linux and Android show them; null where they do not. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Readings {
  /** Hottest sensor, °C, and its name. */
  hottest: { name: string; celsius: number } | null;
  battery: { percent: number | null; milliwatts: number | null; celsius: number | null; charging: boolean | null } | null;
}

function text(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

function number(path: string): number | null {
  const value = text(path);
  return value !== null && /^-?\d+$/.test(value) ? Number(value) : null;
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Sensors that are off say 0 or nonsense. */
const [COLDEST, HOTTEST] = [5, 125];

/** @param root stands before the system's paths; '' on a real device */
export function takeReadings(root = ''): Readings {
  const thermal = join(root, '/sys/class/thermal');
  const sensors = names(thermal)
    .filter((name) => name.startsWith('thermal_zone'))
    .map((name) => {
      const milli = number(join(thermal, name, 'temp'));
      return { name: text(join(thermal, name, 'type')) ?? name, celsius: milli === null ? Number.NaN : milli / 1000 };
    })
    .filter(({ celsius }) => celsius >= COLDEST && celsius <= HOTTEST)
    .sort((a, b) => b.celsius - a.celsius);
  const battery = join(root, '/sys/class/power_supply/battery');
  const [percent, microvolts, microamperes, deci] = ['capacity', 'voltage_now', 'current_now', 'temp'].map((name) =>
    number(join(battery, name)),
  );
  const status = text(join(battery, 'status'));
  const power = microvolts == null || microamperes == null ? null : Math.round(Math.abs(microvolts * microamperes) / 1e9);
  return {
    hottest: sensors[0] ?? null,
    battery:
      percent == null && status === null
        ? null
        : {
            percent: percent ?? null,
            milliwatts: power,
            celsius: deci == null ? null : deci / 10,
            charging: status === null ? null : status === 'Charging' || status === 'Full',
          },
  };
}
