import { runTogether } from './together';

runTogether('service');
