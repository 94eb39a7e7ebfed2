import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Browser, chromium, type LaunchOptions } from 'playwright-core';

const run = promisify(execFile);

/**
 * A real browser: the one at `TEST_CHROMIUM`, else Chromium from the npm registry, which needs
 * nothing of the system but glibc, else (not Linux on x64) the Chrome that is installed.
 */
export async function startBrowser(): Promise<{ browser: Browser; stop(): Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'scsp-chromium-'));
  const browser = await chromium.launch(await whichBrowser(folder));
  return {
    browser,
    async stop() {
      await browser.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function whichBrowser(folder: string): Promise<LaunchOptions> {
  if (process.env.TEST_CHROMIUM !== undefined) return { executablePath: process.env.TEST_CHROMIUM };
  if (process.platform !== 'linux' || process.arch !== 'x64') return { channel: 'chrome' };
  const executablePath = await unpack(folder);
  const systemSuffices = await run(executablePath, ['--version']).then(
    () => true,
    () => false,
  );
  const fonts = join(folder, 'fonts.conf');
  writeFileSync(fonts, `<fontconfig><dir>${folder}/fonts</dir><cachedir>${folder}/cache</cachedir></fontconfig>`);
  return {
    executablePath,
    env: {
      ...process.env,
      FONTCONFIG_FILE: fonts,
      ...(!systemSuffices && { LD_LIBRARY_PATH: join(folder, 'al2023', 'lib') }),
    },
  };
}

/**
 * The package unpacks into the temporary folder, and takes what lies there under its name already: a
 * folder of our own keeps runs and users apart. It brings its libraries only when it believes to be on AWS.
 */
async function unpack(folder: string): Promise<string> {
  const script = `require('@sparticuz/chromium').executablePath().then(console.log)`;
  const env = { ...process.env, TMPDIR: folder, AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x' };
  const { stdout } = await run(process.execPath, ['-e', script], { cwd: __dirname, env });
  return stdout.trim();
}
