/** The text format of Prometheus. */
import { expect, it } from 'vitest';
import { Registry } from '../../../lib/server/metrics.js';

it('counts, measures, and escapes what labels hold', () => {
  const registry = new Registry();
  const requests = registry.counter('requests_total', 'Requests.');
  requests.add(1, { path: '/a"b\\c\nd' });
  requests.add(2, { path: '/a"b\\c\nd' });
  requests.add(1, { path: '/e' });
  const times = registry.histogram('seconds', 'Times.', [0.1, 1]);
  for (const value of [0.1, 0.5, 3]) times.observe(value, { path: '/e' });
  registry.gauge('waiting', 'Now.', () => 7);
  expect(registry.text()).toBe(
    [
      '# HELP requests_total Requests.',
      '# TYPE requests_total counter',
      'requests_total{path="/a\\"b\\\\c\\nd"} 3',
      'requests_total{path="/e"} 1',
      '# HELP seconds Times.',
      '# TYPE seconds histogram',
      'seconds_bucket{path="/e",le="0.1"} 1',
      'seconds_bucket{path="/e",le="1"} 2',
      'seconds_bucket{path="/e",le="+Inf"} 3',
      'seconds_sum{path="/e"} 3.6',
      'seconds_count{path="/e"} 3',
      '# HELP waiting Now.',
      '# TYPE waiting gauge',
      'waiting 7',
      '',
    ].join('\n'),
  );
});
