// A NestJS server that charges per call: npm run merchant:nest -w examples
import 'reflect-metadata'
import { Controller, Get, Module, Param, UseGuards } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { PBStream } from '@protocolbanks/stream-sdk'

const { API_KEY = '', SERVICE = 'weather', GATEWAY_URL = 'http://127.0.0.1:4020', PORT = '4030' } = process.env
const stream = new PBStream({ apiKey: API_KEY, service: SERVICE, ratePerCall: '0.01', gatewayUrl: GATEWAY_URL })

@Controller('weather')
class WeatherController {
  @Get(':city')
  @UseGuards(stream.guard())
  read(@Param('city') city: string) {
    return { city, at: new Date().toISOString() }
  }
}

@Module({ controllers: [WeatherController] })
class AppModule {}

const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] })
await app.listen(Number(PORT), '127.0.0.1')
console.log(`${await app.getUrl()}/weather/oslo`)
